/*
 * gate_conf.c: from a backend's part of the configuration, or a route's, to what its policies are
 * given.
 */
#include "upstream/gate_conf.h"

static struct fg_concurrency_config limit_of(const struct fg_concurrency_conf *conf)
{
    struct fg_concurrency_config limit = fg_concurrency_limit_config_default(conf->kind);
    limit.limit_initial = conf->limit;
    if (conf->kind != FG_CONCURRENCY_FIXED) {
        limit.limit_min = conf->limit_min;
        limit.limit_max = conf->limit_max;
    }
    limit.is_shadow = conf->is_shadow;
    return limit;
}

static struct fg_admission_level_config level_of(const struct fg_queue_conf *conf)
{
    struct fg_admission_level_config level = fg_admission_level_config_default();
    if (conf->target_ns > 0)
        level.target_ns = conf->target_ns / 10 * 9; /* holds back before the queue sheds */
    if (conf->interval_ns > level.window_ns)
        level.window_ns = conf->interval_ns;
    if (!conf->shed_by_priority || conf->target_ns == 0)
        level.window_ns = 0;
    return level;
}

static struct fg_gate_policy_config gate_of(const struct fg_concurrency_conf *concurrency,
                                            const struct fg_queue_conf *queue)
{
    return (struct fg_gate_policy_config){
        .level = level_of(queue),
        .limit = limit_of(concurrency),
        .queue = {.capacity = queue->requests_max,
                  .bytes_max = queue->bytes_max,
                  .tokens_max = queue->tokens_max,
                  .ageing_ns = queue->ageing_ns,
                  .is_shadow = queue->is_shadow,
                  .target_ns = queue->target_ns,
                  .interval_ns = queue->interval_ns},
        .is_level_shadow = queue->is_shadow,
        .wait_max_ns = queue->wait_max_ns,
    };
}

struct fg_gate_policy_config fg_gate_policy_config_of_route(const struct fg_route_conf *conf)
{
    return gate_of(&conf->concurrency, &conf->queue);
}

struct fg_gate_policy_config fg_gate_policy_config_of(const struct fg_backend_conf *conf)
{
    struct fg_gate_policy_config gate = gate_of(&conf->concurrency, &conf->queue);
    gate.has_breaker = conf->breaker.enabled;
    gate.is_breaker_shadow = conf->breaker.is_shadow;
    gate.breaker =
        (struct fg_breaker_config){.consecutive_failures = conf->breaker.consecutive_failures,
                                   .error_permille = conf->breaker.error_permille,
                                   .min_requests = conf->breaker.min_requests,
                                   .half_open_probes = conf->breaker.half_open_probes,
                                   .window_ns = conf->breaker.window_ns,
                                   .open_ns = conf->breaker.open_ns,
                                   .open_max_ns = conf->breaker.open_max_ns,
                                   .slow_ns = conf->breaker.slow_ns,
                                   .slow_permille = conf->breaker.slow_permille,
                                   .half_open_interval_ns = conf->breaker.half_open_interval_ns};
    return gate;
}
