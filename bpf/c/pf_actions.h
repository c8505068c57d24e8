/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What rules want done to packets, beyond letting them pass. */
#ifndef BSDNET_PF_ACTIONS_H
#define BSDNET_PF_ACTIONS_H

#include "pf_state.h"

/* pf_actions_add: what a rule wants, on top of what those before it wanted. */
inline_always void pf_actions_add(struct pf_actions *to, const struct pf_actions *from)
{
	if (from->flags & PFA_MAXMSS)
		to->max_mss = from->max_mss;
	if (from->flags & PFA_MINTTL)
		to->min_ttl = from->min_ttl;
	if (from->flags & PFA_SETTOS)
		to->set_tos = from->set_tos;
	if (from->flags & PFA_SETPRIO)
		*(__u16 *)to->set_prio = *(__u16 *)from->set_prio;
	to->flags |= from->flags & PFA_SCRUB;
}

/* pf_actions_any: there is something that a state would have to remember. */
inline_always bool pf_actions_any(const struct pf_actions *act)
{
	return act->flags || act->timeouts || act->log_if;
}

/* pf_logged_by: the rule will log the packet when its evaluation is over. */
inline_always void pf_logged_by(struct pf_pdesc *pd, const struct pf_rule *r, __u32 log_if, __u32 user)
{
	__u32 n = pd->logs;

	opaque(n);
	if (n >= PF_PACKET_LOGS) {
		pf_counted(log_lost);
		return;
	}
	pd->logged[n].rule = r->number;
	pd->logged[n].action = r->action;
	pd->logged[n].log_if = log_if;
	pd->logged[n].user = user;
	pd->logs = n + 1;
}

/*
 * pf_matched: a rule matches that has options, or that something wants logged.
 * What a match rule wants holds from here on. Not in line, to keep the stack of
 * its caller short.
 */
static __noinline void pf_matched(struct pf_pdesc *pd, const struct pf_rule *r, const struct pf_rule_actions *actions)
{
	__u32 log_if = actions ? actions->act.log_if : 0, user = actions && (actions->act.flags & PFA_LOG_USER);

	if (r->action == PF_MATCH) {
		if (actions)
			pf_actions_add(&pd->act, &actions->act);
		if (r->flags & PFR_LOG)
			pf_logged_by(pd, r, log_if, user);
		if (r->flags & PFR_LOG_ALL) {
			pd->act.flags |= PFA_LOG_MATCH | (user ? PFA_LOG_USER : 0);
			pd->act.match_rule = r->number;
			pd->act.match_log_if = log_if;
		}
	}
	if (pd->matches)
		pf_logged_by(pd, r, pd->matches_if, pd->matches_user);
	if (actions && (actions->act.flags & PFA_LOG_MATCHES)) {
		pd->matches = 1;
		pd->matches_if = log_if;
		pd->matches_user = user;
	}
}

inline_always struct pf_actions *pf_state_actions_get(__u32 slot)
{
	return bpf_map_lookup_elem(&pf_state_actions, &slot);
}

/*
 * pf_settings_of: the settings by which a state with such actions times out, and
 * the number of states that count for it.
 */
inline_always struct pf_settings *pf_settings_of(const struct pf_state *s, const struct pf_actions *act,
						 struct pf_settings *set, __u64 *states)
{
	__u32 number = act->timeouts;
	struct pf_settings *own;

	if (!number)
		return set;
	own = bpf_map_lookup_elem(&pf_set, &number);
	if (!own)
		return set;
	if (own->flags & PF_SET_ADAPTIVE_RULE) {
		__u64 *count = bpf_map_lookup_elem(&pf_rule_states, &s->rule);

		*states = count ? *count : 0;
	}
	return own;
}

/* pf_state_settings: likewise; and takes what the state wants done into pd. */
inline_always struct pf_settings *pf_state_settings(const struct pf_state *s, __u32 slot, struct pf_pdesc *pd,
						    struct pf_settings *set, __u64 *states)
{
	struct pf_actions *act;

	if (!(s->flags & PF_STATE_ACTIONS))
		return set;
	act = pf_state_actions_get(slot);
	if (!act)
		return set;
	pd->act = *act;
	return pf_settings_of(s, act, set, states);
}

#endif
