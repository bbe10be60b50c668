/*
 * gateway_connections.c: the clients' connections: who gets one, who waits for its handshake, who
 * comes in vain.
 * Job      what net/acceptor.c, handshakes.c and timeouts.c do with sockets, done with counts:
 *          limits.connections_max, tls.handshake_turn and handshakes_waiting_max,
 *          limits.handshake_timeout and idle_timeout, and the overload steps that concern them.
 * Thread   one owner, in virtual time.
 * Law      a user has one connection, over TLS; it stays while the user is there, until it was
 *          idle for idle_timeout. A handshake begins while the loops are less than handshake_turn
 *          behind, those that resume first; its time is the loops'.
 * Departs  Round trips take no time. Nothing is modelled where no listener speaks TLS, or where
 *          the scenario says that the clients share connections, as behind a load balancer.
 *
 *    call -> open? --no--> room? --> waiting[resumes | full] --> open --> request
 *                            `-- refused             `-- too many, too long: closed
 */
#include "rehearse/sim/gateway_model_internal.h"

#include "base/clock.h"

static struct fg_sim_client *client_of(struct fg_gateway_model *model, uint32_t user)
{
    return &model->clients[user];
}

static bool asks(const struct fg_gateway_model *model, enum fg_overload_step step)
{
    return !model->config->overload.is_shadow &&
           (fg_overload_steps(&model->overload) & (UINT32_C(1) << step)) != 0;
}

/* For the report: the resource whose pressure asks for the step. */
static enum fg_overload_resource reason_of(const struct fg_gateway_model *model,
                                           enum fg_overload_step step)
{
    unsigned resource = 0;
    while (resource + 1 < FG_OVERLOAD_RESOURCE_COUNT &&
           (model->overload.resources[resource].steps & (UINT32_C(1) << step)) == 0)
        resource++;
    return (enum fg_overload_resource)resource;
}

/* ---- idle ones ---- */

static void leave_idle(struct fg_gateway_model *model, struct fg_sim_client *client)
{
    if (!client->is_idle)
        return;
    client->is_idle = false;
    if (client->older == FG_SIM_NONE)
        model->idle_first = client->newer;
    else
        client_of(model, client->older)->newer = client->newer;
    if (client->newer == FG_SIM_NONE)
        model->idle_last = client->older;
    else
        client_of(model, client->newer)->older = client->older;
}

static void close_connection(struct fg_gateway_model *model, struct fg_sim_client *client)
{
    if (!client->is_open)
        return;
    leave_idle(model, client);
    client->is_open = false;
    model->open_count--;
}

static void close_idle(struct fg_gateway_model *model, uint64_t now_ns)
{
    uint64_t timeout_ns = model->config->limits.idle_timeout_ns;
    if (asks(model, FG_OVERLOAD_SHORTEN_IDLE))
        timeout_ns = timeout_ns / 1000 * model->config->overload.idle_permille;
    while (model->idle_first != FG_SIM_NONE) {
        struct fg_sim_client *client = client_of(model, model->idle_first);
        if (client->idle_since_ns + timeout_ns > now_ns)
            return;
        close_connection(model, client);
    }
}

void fg_sim_connection_rests(struct fg_gateway_model *model, uint32_t user, uint64_t now_ns)
{
    struct fg_sim_client *client = client_of(model, user);
    if (!client->is_open)
        return;
    if (asks(model, FG_OVERLOAD_STOP_KEEP_ALIVE)) {
        close_connection(model, client);
        return;
    }
    leave_idle(model, client);
    client->is_idle = true;
    client->idle_since_ns = now_ns;
    client->newer = FG_SIM_NONE;
    client->older = model->idle_last;
    if (model->idle_last == FG_SIM_NONE)
        model->idle_first = user;
    else
        client_of(model, model->idle_last)->newer = user;
    model->idle_last = user;
}

/* ---- handshakes ---- */

static void take_out(struct fg_gateway_model *model, struct fg_sim_request *request)
{
    struct fg_sim_line *line = &model->handshakes[request->resumes];
    if (request->pending_prev == FG_SIM_NONE)
        line->first = request->pending_next;
    else
        fg_sim_request_at(model, request->pending_prev)->pending_next = request->pending_next;
    if (request->pending_next == FG_SIM_NONE)
        line->last = request->pending_prev;
    else
        fg_sim_request_at(model, request->pending_next)->pending_prev = request->pending_prev;
    model->handshake_count--;
}

static void put_in_line(struct fg_gateway_model *model, struct fg_sim_request *request)
{
    struct fg_sim_line *line = &model->handshakes[request->resumes];
    request->state = FG_SIM_HANDSHAKE;
    request->pending_next = FG_SIM_NONE;
    request->pending_prev = line->last;
    if (line->last == FG_SIM_NONE)
        line->first = request->index;
    else
        fg_sim_request_at(model, line->last)->pending_next = request->index;
    line->last = request->index;
    model->handshake_count++;
}

/* The oldest that resumes, else the oldest; NULL: nobody waits. */
static struct fg_sim_request *oldest(struct fg_gateway_model *model, unsigned first_kind)
{
    for (unsigned i = 0; i < 2; i++) {
        uint32_t index = model->handshakes[(first_kind + i) % 2].first;
        if (index != FG_SIM_NONE)
            return fg_sim_request_at(model, index);
    }
    return NULL;
}

static bool has_turn(const struct fg_gateway_model *model, uint64_t now_ns)
{
    uint64_t turn_ns = model->config->tls.handshake_turn_ns;
    return turn_ns == 0 || fg_sim_lag_ns(model, now_ns) < turn_ns;
}

static void arm(struct fg_gateway_model *model, uint64_t now_ns)
{
    if (model->is_handshake_armed || model->handshake_count == 0)
        return;
    uint64_t turn_ns = model->config->tls.handshake_turn_ns;
    uint64_t lag_ns = fg_sim_lag_ns(model, now_ns);
    model->is_handshake_armed = true;
    fg_event_heap_add(model->heap, now_ns + (lag_ns > turn_ns ? lag_ns - turn_ns : 0) + 1,
                      FG_SIM_EVENT_HANDSHAKE, 0);
}

static void refuse(struct fg_gateway_model *model, struct fg_sim_request *request, uint64_t now_ns,
                   unsigned reason)
{
    uint32_t user = request->user;
    client_of(model, user)->request = FG_SIM_NONE;
    fg_sim_request_free(model, request);
    fg_users_answer(model->users, user, now_ns,
                    &(struct fg_answer){.outcome = FG_OUTCOME_REFUSED, .reason = reason});
}

static void refuse_for(struct fg_gateway_model *model, struct fg_sim_request *request,
                       uint64_t now_ns, enum fg_overload_step step)
{
    fg_tally_shed(model->tally, request->route, now_ns, reason_of(model, step));
    refuse(model, request, now_ns, FG_REFUSED_OVERLOAD);
}

static void shake_hands(struct fg_gateway_model *model, struct fg_sim_request *request,
                        uint64_t now_ns)
{
    const struct fg_scenario_gateway *gateway = &model->scenario->gateway;
    struct fg_sim_client *client = client_of(model, request->user);
    fg_sim_pay(model, request->resumes ? gateway->resumed_cpu_ns : gateway->handshake_cpu_ns,
               now_ns);
    client->is_open = true;
    client->has_session = true;
    client->is_idle = false;
    model->open_count++;
    request->state = FG_SIM_REQUEST_NEW;
    fg_sim_go_on(model, request, now_ns);
}

void fg_sim_handshakes_run(struct fg_gateway_model *model, uint64_t now_ns)
{
    uint64_t timeout_ns = model->config->limits.handshake_timeout_ns;
    struct fg_sim_request *request;
    model->is_handshake_armed = false;
    for (unsigned kind = 0; kind < 2; kind++) {
        while (model->handshakes[kind].first != FG_SIM_NONE) {
            request = fg_sim_request_at(model, model->handshakes[kind].first);
            if (request->call.due_ns + timeout_ns > now_ns)
                break;
            take_out(model, request);
            refuse(model, request, now_ns, FG_TALLY_HANDSHAKE_TIMEOUT);
        }
    }
    while (has_turn(model, now_ns) && (request = oldest(model, 1)) != NULL) {
        take_out(model, request);
        shake_hands(model, request, now_ns);
    }
    arm(model, now_ns);
}

/* ---- public ---- */

void fg_sim_connections_init(struct fg_gateway_model *model)
{
    model->idle_first = model->idle_last = FG_SIM_NONE;
    for (unsigned i = 0; i < 2; i++)
        model->handshakes[i] = (struct fg_sim_line){FG_SIM_NONE, FG_SIM_NONE};
    for (size_t i = 0; i < model->config->listener_count; i++)
        model->has_connections |= model->config->listeners[i].kind == FG_LISTENER_TLS;
    model->has_connections &= !model->scenario->gateway.shares_connections;
}

bool fg_sim_is_connected(struct fg_gateway_model *model, const struct fg_call *call)
{
    struct fg_sim_client *client = client_of(model, call->user);
    if (!model->has_connections)
        return true;
    if (client->user_id != call->user_id + 1) { /* somebody else's place in memory, who has left */
        close_connection(model, client);
        client->user_id = call->user_id + 1;
        client->has_session =
            fg_chance_permille(&model->host_chance, call->crowd->resumes_permille);
    }
    close_idle(model, call->due_ns);
    leave_idle(model, client);
    return client->is_open;
}

void fg_sim_connect(struct fg_gateway_model *model, struct fg_sim_request *request, uint64_t now_ns)
{
    request->resumes = client_of(model, request->user)->has_session;
    if (asks(model, FG_OVERLOAD_REFUSE_CONNECTIONS)) {
        refuse_for(model, request, now_ns, FG_OVERLOAD_REFUSE_CONNECTIONS);
        return;
    }
    if (model->open_count + model->handshake_count >= model->config->limits.connections_max) {
        refuse(model, request, now_ns, FG_TALLY_CONNECTIONS);
        return;
    }
    if (!request->resumes && asks(model, FG_OVERLOAD_RESUME_ONLY)) {
        refuse_for(model, request, now_ns, FG_OVERLOAD_RESUME_ONLY);
        return;
    }
    if (model->handshake_count == 0 && has_turn(model, now_ns)) {
        shake_hands(model, request, now_ns);
        return;
    }
    put_in_line(model, request);
    uint64_t most =
        (uint64_t)model->config->tls.handshakes_waiting_max * model->scenario->gateway.threads;
    if (model->handshake_count > most) { /* the oldest full one, as net/handshakes.c */
        request = oldest(model, 0);
        take_out(model, request);
        refuse(model, request, now_ns, FG_TALLY_HANDSHAKES_WAITING);
    }
    arm(model, now_ns);
}

void fg_sim_connect_abandon(struct fg_gateway_model *model, struct fg_sim_request *request)
{
    take_out(model, request);
}

void fg_sim_sample_connections(const struct fg_gateway_model *model,
                               struct fg_overload_sample *sample)
{
    const struct fg_overload_conf *conf = &model->config->overload;
    if (!model->has_connections)
        return;
    sample->of[FG_OVERLOAD_MEMORY].used +=
        model->open_count * model->scenario->gateway.connection_bytes;
    sample->of[FG_OVERLOAD_CONNECTIONS] = (struct fg_overload_use){
        model->open_count + model->handshake_count, model->config->limits.connections_max};
    sample->of[FG_OVERLOAD_HANDSHAKES] = (struct fg_overload_use){
        model->handshake_count, conf->handshakes_max > 0
                                    ? conf->handshakes_max
                                    : model->config->limits.connections_max / 4 + 1};
}
