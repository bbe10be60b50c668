/*
 * gate_conf.h: from a backend's part of the configuration to what its policies are given.
 * Thread   any; a pure function, used by the gateway and by the rehearsal.
 */
#ifndef FG_UPSTREAM_GATE_CONF_H
#define FG_UPSTREAM_GATE_CONF_H

#include "config/config.h"
#include "policies/gate_policy.h"

struct fg_gate_policy_config fg_gate_policy_config_of(const struct fg_backend_conf *conf);

#endif
