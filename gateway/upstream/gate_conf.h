/*
 * gate_conf.h: from a backend's part of the configuration, or a route's, to what its policies are
 * given.
 * Thread   any; pure functions, used by the gateway and by the rehearsal.
 */
#ifndef FG_UPSTREAM_GATE_CONF_H
#define FG_UPSTREAM_GATE_CONF_H

#include "config/config.h"
#include "policies/gate_policy.h"

struct fg_gate_policy_config fg_gate_policy_config_of(const struct fg_backend_conf *conf);

/* Of a route that has_concurrency: a gate of its own, without a breaker. */
struct fg_gate_policy_config fg_gate_policy_config_of_route(const struct fg_route_conf *conf);

#endif
