/*
 * policy_conf.c: what the policies are given, and how what they say is counted.
 */
#include "pipeline/policy_conf.h"

#include <string.h>

struct fg_overload_config fg_overload_config_of(const struct fg_overload_conf *conf)
{
    struct fg_overload_config policy = fg_overload_config_default();
    memcpy(policy.ladder, conf->ladder, sizeof(policy.ladder));
    policy.hold_ns = conf->hold_ns;
    return policy;
}

struct fg_limit_rule fg_limit_rule_of(const struct fg_rate_limit_conf *conf)
{
    return (struct fg_limit_rule){.algorithm = conf->algorithm,
                                  .amount = conf->rate.amount,
                                  .period_ns = conf->rate.period_ns,
                                  .burst = conf->burst};
}

struct fg_waiting_room_config fg_waiting_room_config_of(const struct fg_waiting_room_conf *conf)
{
    return (struct fg_waiting_room_config){.admit_amount = conf->admit.amount,
                                           .admit_period_ns = conf->admit.period_ns,
                                           .admit_burst = conf->burst,
                                           .waiting_max = conf->waiting_max,
                                           .grace_ns = conf->grace_ns,
                                           .keep_ns = conf->keep_ns,
                                           .draw_window_ns = conf->draw_window_ns};
}

enum fg_refused fg_refused_of_gate(enum fg_gate_verdict verdict)
{
    switch (verdict) {
    case FG_GATE_BELOW_LEVEL:
        return FG_REFUSED_PRIORITY;
    case FG_GATE_FULL:
    case FG_GATE_DISPLACED:
        return FG_REFUSED_QUEUE_FULL;
    case FG_GATE_FULL_BYTES:
        return FG_REFUSED_QUEUE_BYTES;
    case FG_GATE_FULL_TOKENS:
        return FG_REFUSED_QUEUE_TOKENS;
    case FG_GATE_CANNOT_MEET_DEADLINE:
        return FG_REFUSED_CANNOT_MEET_DEADLINE;
    case FG_GATE_BREAKER_OPEN:
        return FG_REFUSED_BREAKER_OPEN;
    case FG_GATE_SHED:
        return FG_REFUSED_QUEUE_SHED;
    case FG_GATE_EXPIRED:
    case FG_GATE_ADMITTED:
    case FG_GATE_QUEUED:
        break;
    }
    return FG_REFUSED_QUEUE_TIMEOUT;
}
