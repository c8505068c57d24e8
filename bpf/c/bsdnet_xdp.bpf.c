//go:build ignore
// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* The stages, built for XDP. */
#define BUILD_XDP
#include "ether_input.h"
#include "ip_input.h"
#include "ip6_input.h"
#include "netisr.h"
#include "pf.h"
#include "tunnel.h"
#include "gre.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
