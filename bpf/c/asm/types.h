/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The types of the BPF target do not depend on the machine that compiles. */
#include <asm-generic/types.h>
