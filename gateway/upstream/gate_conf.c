/*
 * gate_conf.c: from a backend's part of the configuration to what its policies are given.
 */
#include "upstream/gate_conf.h"

struct fg_gate_policy_config fg_gate_policy_config_of(const struct fg_backend_conf *conf)
{
    struct fg_concurrency_config limit =
        fg_concurrency_limit_config_default(conf->concurrency.kind);
    limit.limit_initial = conf->concurrency.limit;
    if (conf->concurrency.kind != FG_CONCURRENCY_FIXED) {
        limit.limit_min = conf->concurrency.limit_min;
        limit.limit_max = conf->concurrency.limit_max;
    }
    limit.is_shadow = conf->concurrency.is_shadow;
    struct fg_admission_level_config level = fg_admission_level_config_default();
    if (conf->queue.target_ns > 0)
        level.target_ns = conf->queue.target_ns / 10 * 9; /* holds back before the queue sheds */
    if (conf->queue.interval_ns > level.window_ns)
        level.window_ns = conf->queue.interval_ns;
    if (!conf->queue.shed_by_priority || conf->queue.target_ns == 0)
        level.window_ns = 0;
    return (struct fg_gate_policy_config){
        .level = level,
        .limit = limit,
        .queue = {.capacity = conf->queue.requests_max,
                  .bytes_max = conf->queue.bytes_max,
                  .tokens_max = conf->queue.tokens_max,
                  .ageing_ns = conf->queue.ageing_ns,
                  .is_shadow = conf->queue.is_shadow,
                  .target_ns = conf->queue.target_ns,
                  .interval_ns = conf->queue.interval_ns},
        .breaker = {.consecutive_failures = conf->breaker.consecutive_failures,
                    .error_permille = conf->breaker.error_permille,
                    .min_requests = conf->breaker.min_requests,
                    .half_open_probes = conf->breaker.half_open_probes,
                    .window_ns = conf->breaker.window_ns,
                    .open_ns = conf->breaker.open_ns,
                    .open_max_ns = conf->breaker.open_max_ns,
                    .slow_ns = conf->breaker.slow_ns,
                    .slow_permille = conf->breaker.slow_permille,
                    .half_open_interval_ns = conf->breaker.half_open_interval_ns},
        .has_breaker = conf->breaker.enabled,
        .is_level_shadow = conf->queue.is_shadow,
        .is_breaker_shadow = conf->breaker.is_shadow,
        .wait_max_ns = conf->queue.wait_max_ns,
    };
}
