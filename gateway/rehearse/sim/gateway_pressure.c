/*
 * gateway_pressure.c: what the backends' resources are under: how long Redis takes, and how much of
 * the KV cache is held.
 * Job      the part of an overload sample that the process itself does not know.
 * Thread   one owner, in virtual time.
 * Departs  Redis's latency is that of requests to `orders`, not of its single commands.
 */
#include "rehearse/sim/gateway_model_internal.h"

/* The mean since the last look, or how long the oldest one has waited, if that is longer. */
static uint64_t redis_latency_ns(struct fg_gateway_model *model, struct fg_sim_backend *backend,
                                 uint64_t now_ns)
{
    const struct fg_backend_model *redis = &backend->hosts->model; /* always one */
    const struct fg_job *oldest = redis->oldest;
    uint64_t latency_ns = backend->answered == 0 ? 0 : backend->answer_sum_ns / backend->answered;
    backend->answered = 0;
    backend->answer_sum_ns = 0;
    if (!redis->is_reachable)
        return UINT64_MAX;
    if (oldest == NULL)
        return latency_ns;
    uint64_t waited_ns = now_ns - fg_sim_request_at(model, oldest->index)->backend_ns;
    return waited_ns > latency_ns ? waited_ns : latency_ns;
}

void fg_sim_sample_backends(struct fg_gateway_model *model, uint64_t now_ns,
                            struct fg_overload_sample *sample)
{
    for (size_t i = 0; i < model->config->backend_count; i++) {
        struct fg_sim_backend *backend = &model->backends[i];
        if (model->config->backends[i].kind == FG_BACKEND_ORDERS)
            sample->of[FG_OVERLOAD_REDIS_LATENCY] =
                (struct fg_overload_use){redis_latency_ns(model, backend, now_ns),
                                         model->config->overload.redis_latency_max_ns};
        else if (model->config->backends[i].kind == FG_BACKEND_INFERENCE)
            sample->of[FG_OVERLOAD_KV_BLOCKS] =
                (struct fg_overload_use){fg_backend_model_kv_used(&backend->hosts->model, now_ns),
                                         backend->hosts->conf.tokens.kv};
    }
}

uint32_t fg_sim_overload_uses(const struct fg_gateway_model *model,
                              const struct fg_route_conf *route)
{
    if (route->action != FG_ROUTE_BACKEND)
        return FG_OVERLOAD_USES_PROCESS;
    switch (model->config->backends[route->backend_index].kind) {
    case FG_BACKEND_ORDERS:
        return FG_OVERLOAD_USES_PROCESS | FG_OVERLOAD_USES_REDIS;
    case FG_BACKEND_INFERENCE:
        return FG_OVERLOAD_USES_PROCESS | FG_OVERLOAD_USES_KV;
    default:
        return FG_OVERLOAD_USES_PROCESS;
    }
}

uint32_t fg_sim_output_tokens(struct fg_gateway_model *model, const struct fg_scenario_step *step)
{
    uint32_t tokens = 1 + (uint32_t)fg_chance_exponential(&model->chance, step->output_tokens - 1);
    uint32_t most = model->config->overload.tokens_max;
    bool is_capped =
        !model->config->overload.is_shadow &&
        (fg_overload_steps_for(&model->overload, FG_OVERLOAD_USES_KV | FG_OVERLOAD_USES_PROCESS) &
         (UINT32_C(1) << FG_OVERLOAD_CAP_TOKENS)) != 0;
    return is_capped && tokens > most ? most : tokens;
}
