/*
 * gateway_requests.c: the requests' memory, and the lines in which they wait for their deadline.
 * Memory   chunks that are never given back before the end; a free request links to the next one.
 */
#include "rehearse/sim/gateway_model_internal.h"

#include <stdlib.h>

#define CHUNK_REQUESTS 4096u

struct fg_sim_request *fg_sim_request_at(const struct fg_gateway_model *model, uint32_t index)
{
    return &model->chunks[index / CHUNK_REQUESTS][index % CHUNK_REQUESTS];
}

static bool add_chunk(struct fg_gateway_model *model)
{
    size_t count = model->chunk_count + 1;
    if (count * CHUNK_REQUESTS > FG_EVENT_INDEX_MAX)
        return false;
    struct fg_sim_request **chunks =
        reallocarray(model->chunks, count, sizeof(struct fg_sim_request *));
    if (chunks == NULL)
        return false;
    model->chunks = chunks;
    struct fg_sim_request *chunk = calloc(CHUNK_REQUESTS, sizeof(*chunk));
    if (chunk == NULL)
        return false;
    chunks[model->chunk_count++] = chunk;
    uint32_t first = (uint32_t)(count - 1) * CHUNK_REQUESTS;
    for (uint32_t i = CHUNK_REQUESTS; i-- > 0;) {
        chunk[i].index = first + i;
        chunk[i].older = model->free;
        model->free = first + i;
    }
    return true;
}

bool fg_sim_client_make(struct fg_gateway_model *model, uint32_t user)
{
    if (user < model->client_capacity)
        return true;
    size_t capacity = model->client_capacity == 0 ? 4096 : model->client_capacity;
    while (capacity <= user)
        capacity *= 2;
    struct fg_sim_client *grown = reallocarray(model->clients, capacity, sizeof(*grown));
    if (grown == NULL) {
        model->is_exhausted = true;
        return false;
    }
    for (size_t i = model->client_capacity; i < capacity; i++)
        grown[i] = (struct fg_sim_client){.request = FG_SIM_NONE};
    model->clients = grown;
    model->client_capacity = capacity;
    return true;
}

struct fg_sim_request *fg_sim_request_take(struct fg_gateway_model *model,
                                           const struct fg_call *call, uint64_t now_ns)
{
    if (model->free == FG_SIM_NONE && !add_chunk(model)) {
        model->is_exhausted = true;
        return NULL;
    }
    struct fg_sim_request *request = fg_sim_request_at(model, model->free);
    uint32_t index = request->index;
    uint32_t cohort =
        fg_priority_cohort(&model->key, &call->user_id, sizeof(call->user_id), now_ns);
    model->free = request->older;
    model->request_count++;
    *request = (struct fg_sim_request){
        .index = index,
        .call = *call,
        .user = call->user,
        .priority_number = fg_priority_compound(call->step->route->priority, cohort),
        .step = call->step,
        .route = (uint32_t)(call->step->route - model->config->routes),
        .has_ticket = call->has_ticket,
        .ticket = call->ticket,
        .deadline_ns = now_ns + call->step->route->timeout_ns,
        .state = FG_SIM_REQUEST_NEW,
        .job = {.index = index},
    };
    model->clients[call->user].request = index;
    return request;
}

void fg_sim_request_free(struct fg_gateway_model *model, struct fg_sim_request *request)
{
    request->state = FG_SIM_REQUEST_FREE;
    request->older = model->free;
    model->free = request->index;
    model->request_count--;
}

/* ---- the route's own deadline ---- */

void fg_sim_request_line_up(struct fg_gateway_model *model, struct fg_sim_request *request)
{
    struct fg_sim_route *route = &model->routes[request->route];
    request->has_deadline = true;
    request->older = route->newest;
    request->newer = FG_SIM_NONE;
    if (route->newest == FG_SIM_NONE)
        route->oldest = request->index;
    else
        fg_sim_request_at(model, route->newest)->newer = request->index;
    route->newest = request->index;
    if (!route->is_deadline_armed) {
        route->is_deadline_armed = true;
        fg_event_heap_add(model->heap, request->deadline_ns, FG_SIM_EVENT_DEADLINE, request->route);
    }
}

void fg_sim_request_step_out(struct fg_gateway_model *model, struct fg_sim_request *request)
{
    if (!request->has_deadline)
        return;
    struct fg_sim_route *route = &model->routes[request->route];
    request->has_deadline = false;
    if (request->older == FG_SIM_NONE)
        route->oldest = request->newer;
    else
        fg_sim_request_at(model, request->older)->newer = request->newer;
    if (request->newer == FG_SIM_NONE)
        route->newest = request->older;
    else
        fg_sim_request_at(model, request->newer)->older = request->older;
}
