/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
#include <asm-generic/posix_types.h>
