/*
 * gateway_memory.c: the request memory that all share, and what of it is kept for some.
 * Law      as base/arena.c: a backend gets another chunk while the sum over all of
 *          max(used, guaranteed) stays within limits.request_memory_total_max; 5 % are for heads
 *          that are not yet read.
 * Thread   one owner, in virtual time.
 * Departs  One pool, not one for each loop. A request takes what the scenario says
 *          (`gateway.request_arena`) and its body, when it is routed, until it is answered.
 */
#include "rehearse/sim/gateway_model_internal.h"

#define HEADS_PERMILLE 50 /* as pipeline/pipeline.c */

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Rounded up, of what is guaranteed to nobody yet; nothing is used. */
static uint64_t share_of(const struct fg_sim_memory *memory, uint32_t permille)
{
    const uint64_t left = memory->chunks_max - memory->standing;
    const uint64_t share = (memory->chunks_max * permille + 999) / 1000;
    return share < left ? share : left;
}

void fg_sim_memory_init(struct fg_gateway_model *model)
{
    const struct fg_config *config = model->config;
    struct fg_sim_memory *memory = &model->memory;
    memory->chunks_max = config->limits.arena_bytes_max / FG_ARENA_CHUNK_BYTES;
    memory->standing = share_of(memory, HEADS_PERMILLE);
    for (size_t i = 0; i < config->backend_count; i++) {
        const struct fg_reserve_conf *reserve = &config->backends[i].reserve;
        if (reserve->is_shadow)
            continue;
        model->backends[i].memory_guaranteed = share_of(memory, reserve->memory_permille);
        memory->standing += model->backends[i].memory_guaranteed;
    }
}

static void set_used(struct fg_gateway_model *model, struct fg_sim_backend *backend, uint64_t used)
{
    struct fg_sim_memory *memory = &model->memory;
    memory->standing -= larger(backend->memory_used, backend->memory_guaranteed);
    memory->used = memory->used - backend->memory_used + used;
    backend->memory_used = used;
    memory->standing += larger(used, backend->memory_guaranteed);
}

static uint32_t chunks_of(const struct fg_gateway_model *model, const struct fg_scenario_step *step)
{
    uint64_t bytes = model->scenario->gateway.request_arena_bytes + step->scan.body_bytes;
    return (uint32_t)((bytes + FG_ARENA_CHUNK_BYTES - 1) / FG_ARENA_CHUNK_BYTES);
}

bool fg_sim_memory_has_room(const struct fg_gateway_model *model, const struct fg_call *call)
{
    const struct fg_sim_backend *backend = &model->backends[call->step->route->backend_index];
    uint64_t used = backend->memory_used + chunks_of(model, call->step);
    uint64_t others =
        model->memory.standing - larger(backend->memory_used, backend->memory_guaranteed);
    return others + larger(used, backend->memory_guaranteed) <= model->memory.chunks_max;
}

void fg_sim_memory_take(struct fg_gateway_model *model, struct fg_sim_request *request)
{
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    request->chunks = chunks_of(model, request->step);
    set_used(model, backend, backend->memory_used + request->chunks);
}

void fg_sim_memory_give(struct fg_gateway_model *model, struct fg_sim_request *request)
{
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    if (request->chunks > 0)
        set_used(model, backend, backend->memory_used - request->chunks);
    request->chunks = 0;
}
