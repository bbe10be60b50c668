/*
 * policy_conf.h: from the configuration to what the policies of the stages are given, and from
 * their verdicts to the reasons that are counted.
 * Thread   any; pure functions, used by the gateway and by the rehearsal.
 */
#ifndef FG_PIPELINE_POLICY_CONF_H
#define FG_PIPELINE_POLICY_CONF_H

#include "config/config.h"
#include "observe/metrics.h"
#include "policies/gate_policy.h"
#include "policies/limit_table.h"
#include "policies/overload.h"
#include "policies/waiting_room.h"

struct fg_overload_config fg_overload_config_of(const struct fg_overload_conf *conf);
struct fg_limit_rule fg_limit_rule_of(const struct fg_rate_limit_conf *conf);
struct fg_waiting_room_config fg_waiting_room_config_of(const struct fg_waiting_room_conf *conf);

/* Why a gate refused; `verdict` is neither FG_GATE_ADMITTED nor FG_GATE_QUEUED. */
enum fg_refused fg_refused_of_gate(enum fg_gate_verdict verdict);

#endif
