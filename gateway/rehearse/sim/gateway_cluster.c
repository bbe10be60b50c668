/*
 * gateway_cluster.c: from a backend's gate to its servers: what a cluster may have at once, which
 * endpoint gets the request, and where it goes when that one fails.
 * Job      what proxy/attempt.c, pending.c and endpoint.c do with connections, done with the jobs
 *          of imagined servers; limits are counted by base/limit_shared, as there; who is chosen
 *          and left alone is decided by gateway_hosts.c.
 * Thread   one owner, in virtual time.
 * Departs  A connection is had at once, or refused at once; idle ones hold no place, since the
 *          gateway closes them for whoever waits; TLS of a cluster means HTTP/2. Hedges and
 *          tunnels are not modelled.
 *
 *    enter -> requests -> host -> connection -> job -.
 *               |          ^  |      `-- pending --'  |-- failed: another host, or the end
 *               refused    '--+----------------------'
 */
#include "rehearse/sim/gateway_model_internal.h"

#include "base/clock.h"

#define BUSY_RETRY_NS FG_S /* as proxy_request.c says it */

/* In shadow all but connections are always had. */
static bool try_take(struct fg_sim_backend *backend, enum fg_sim_cluster_limit which)
{
    if (fg_limit_try_take(&backend->limits[which]))
        return true;
    if (!backend->cluster->limits.is_shadow || which == FG_SIM_LIMIT_CONNECTIONS)
        return false;
    fg_limit_take_over(&backend->limits[which]);
    return true;
}

/* ---- connections ---- */

static void take_out(struct fg_gateway_model *model, struct fg_sim_request *request)
{
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    if (request->pending_prev == FG_SIM_NONE)
        backend->pending_first = request->pending_next;
    else
        fg_sim_request_at(model, request->pending_prev)->pending_next = request->pending_next;
    if (request->pending_next == FG_SIM_NONE)
        backend->pending_last = request->pending_prev;
    else
        fg_sim_request_at(model, request->pending_next)->pending_prev = request->pending_prev;
    model->pending_count--;
    fg_limit_give(&backend->limits[FG_SIM_LIMIT_PENDING]);
}

/* The most important first; nobody passes one of the same importance. False: too many wait. */
static bool wait_for_connection(struct fg_gateway_model *model, struct fg_sim_request *request)
{
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    if (!try_take(backend, FG_SIM_LIMIT_PENDING))
        return false;
    uint32_t behind = backend->pending_last;
    while (behind != FG_SIM_NONE &&
           fg_sim_request_at(model, behind)->priority_number > request->priority_number)
        behind = fg_sim_request_at(model, behind)->pending_prev;
    request->pending_prev = behind;
    request->pending_next = behind == FG_SIM_NONE ? backend->pending_first
                                                  : fg_sim_request_at(model, behind)->pending_next;
    if (behind == FG_SIM_NONE)
        backend->pending_first = request->index;
    else
        fg_sim_request_at(model, behind)->pending_next = request->index;
    if (request->pending_next == FG_SIM_NONE)
        backend->pending_last = request->index;
    else
        fg_sim_request_at(model, request->pending_next)->pending_prev = request->index;
    request->state = FG_SIM_PENDING;
    model->pending_count++;
    return true;
}

static bool take_connection(struct fg_sim_backend *backend, struct fg_sim_request *request)
{
    request->has_connection = !backend->is_cluster || try_take(backend, FG_SIM_LIMIT_CONNECTIONS);
    return request->has_connection;
}

/* ---- one attempt ---- */

/* Whatever came of it: the host and the connection are free of it. */
static void stop_attempt(struct fg_gateway_model *model, struct fg_sim_request *request,
                         uint64_t now_ns)
{
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    if (!request->has_host)
        return;
    if (request->state == FG_SIM_PENDING)
        take_out(model, request);
    if (request->has_connection && backend->is_cluster)
        fg_limit_give(&backend->limits[FG_SIM_LIMIT_CONNECTIONS]);
    request->has_connection = false;
    request->has_host = false;
    fg_sim_host_ended(backend, request, now_ns);
}

static bool try_take_budget(struct fg_gateway_model *model, struct fg_sim_backend *backend,
                            uint64_t now_ns)
{
    bool is_shedding = fg_overload_sheds(fg_overload_steps(&model->overload)) ||
                       fg_retry_budget_is_shedding(backend->shed_at_ns, now_ns);
    struct fg_limit *retries = &backend->limits[FG_SIM_LIMIT_RETRIES];
    uint64_t active = fg_limit_used(&backend->limits[FG_SIM_LIMIT_REQUESTS]);
    uint64_t budget = fg_retry_budget_limit(&backend->budget, active, is_shedding);
    if (fg_limit_try_take_below(retries, budget))
        return true;
    if (!backend->cluster->limits.is_shadow || fg_limit_used(retries) >= budget)
        return false;
    fg_limit_take_over(retries);
    return true;
}

static void mark_tried(struct fg_sim_request *request)
{
    for (unsigned i = 0; i < request->tried_count; i++) {
        if (request->tried[i] == request->host)
            return;
    }
    if (request->tried_count < FG_SIM_TRIED_MAX)
        request->tried[request->tried_count++] = request->host;
}

/* Once more, if method, cause and budget allow it. */
static bool may_try_again(struct fg_gateway_model *model, struct fg_sim_request *request,
                          uint64_t now_ns, enum fg_retry_cause cause)
{
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    const struct fg_retry_facts facts = {.cause = cause,
                                         .is_idempotent = request->step->is_idempotent,
                                         .is_sent_any = cause != FG_RETRY_CONNECT,
                                         .is_body_at_hand = true,
                                         .connect_retries = request->reconnects,
                                         .retries = request->retries};
    if (!backend->is_cluster || cause == FG_RETRY_CAUSE_COUNT)
        return false;
    switch (fg_retry_judge(&backend->retry_conf, &facts)) {
    case FG_RETRY_NO:
        return false;
    case FG_RETRY_YES:
        request->reconnects++;
        break;
    case FG_RETRY_WITH_BUDGET:
        if (!try_take_budget(model, backend, now_ns))
            return false;
        request->retries++;
        model->tally->backends[backend - model->backends].retried++;
        break;
    }
    mark_tried(request);
    return true;
}

/* With its connection. False: it goes again, at another host. */
static bool begin(struct fg_gateway_model *model, struct fg_sim_request *request, uint64_t now_ns)
{
    struct fg_sim_host *host = fg_sim_host_of(model, request);
    request->state = FG_SIM_AT_BACKEND;
    enum fg_job_start start = fg_backend_model_start(&host->model, &request->job, now_ns);
    if (start == FG_JOB_TAKEN) {
        fg_sim_host_connected(fg_sim_backend_of(model, request), request);
        return true;
    }
    bool is_gone = start == FG_JOB_UNREACHABLE;
    if (is_gone)
        fg_sim_host_unreachable(fg_sim_backend_of(model, request), request, now_ns);
    fg_sim_host_judge(fg_sim_backend_of(model, request), request, true, 0, now_ns);
    bool goes_again =
        may_try_again(model, request, now_ns, is_gone ? FG_RETRY_CONNECT : FG_RETRY_STATUS_503);
    stop_attempt(model, request, now_ns);
    if (!goes_again)
        fg_sim_fail_at_backend(model, request, now_ns);
    return !goes_again;
}

/* Until it is at a host, waits for a connection, or is over. */
static void attempt(struct fg_gateway_model *model, struct fg_sim_request *request, uint64_t now_ns)
{
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    do {
        uint64_t retry_after_ns = 0;
        if (!fg_sim_host_pick(model, backend, request, now_ns, &retry_after_ns)) {
            fg_sim_refuse_unasked(model, request, now_ns, FG_TALLY_ENDPOINTS_OPEN, retry_after_ns);
            return;
        }
        request->has_host = true;
        request->attempt_ns = now_ns;
        bool may_pass = backend->pending_first == FG_SIM_NONE;
        if (may_pass && take_connection(backend, request))
            continue;
        if (!wait_for_connection(model, request)) {
            stop_attempt(model, request, now_ns);
            fg_sim_refuse_unasked(model, request, now_ns, FG_TALLY_CLUSTER_PENDING, BUSY_RETRY_NS);
        }
        return;
    } while (!begin(model, request, now_ns));
}

/* ---- public ---- */

void fg_sim_cluster_enter(struct fg_gateway_model *model, struct fg_sim_request *request,
                          uint64_t now_ns)
{
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    request->is_counted = backend->is_cluster && try_take(backend, FG_SIM_LIMIT_REQUESTS);
    if (backend->is_cluster && !request->is_counted)
        fg_sim_refuse_unasked(model, request, now_ns, FG_TALLY_CLUSTER_REQUESTS, BUSY_RETRY_NS);
    else
        attempt(model, request, now_ns);
}

bool fg_sim_cluster_on_answer(struct fg_gateway_model *model, struct fg_sim_request *request,
                              uint64_t now_ns, uint64_t head_ns, unsigned status)
{
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    bool is_error = status >= 500;
    bool goes_again =
        is_error && may_try_again(model, request, now_ns, fg_retry_cause_of_status(status));
    fg_sim_host_judge(backend, request, is_error, head_ns - request->attempt_ns, now_ns);
    stop_attempt(model, request, now_ns);
    if (goes_again)
        attempt(model, request, now_ns);
    return !goes_again;
}

void fg_sim_cluster_leave(struct fg_gateway_model *model, struct fg_sim_request *request,
                          uint64_t now_ns)
{
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    stop_attempt(model, request, now_ns);
    for (; request->retries > 0; request->retries--)
        fg_limit_give(&backend->limits[FG_SIM_LIMIT_RETRIES]);
    if (request->is_counted)
        fg_limit_give(&backend->limits[FG_SIM_LIMIT_REQUESTS]);
    request->is_counted = false;
}

bool fg_sim_cluster_place(struct fg_gateway_model *model, uint64_t now_ns)
{
    for (size_t i = 0; i < model->config->backend_count && model->pending_count > 0; i++) {
        struct fg_sim_backend *backend = &model->backends[i];
        struct fg_sim_request *request = backend->pending_first == FG_SIM_NONE
                                             ? NULL
                                             : fg_sim_request_at(model, backend->pending_first);
        if (request == NULL || !take_connection(backend, request))
            continue;
        take_out(model, request);
        if (!begin(model, request, now_ns))
            attempt(model, request, now_ns);
        return true;
    }
    return false;
}
