/*
 * refusals.c: what a request is told that a limit of its cluster's keeps from the servers, and what
 *             is noted of one that a limit in shadow would have kept.
 * Job      one place for reason, policy, value, limit and when to come again, for each such limit.
 * Thread   the exchange's loop.
 * Never    tells limit or breaker that the servers were asked.
 */
#include "proxy_internal.h"

#include "backends/own_limits.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>

#define REFUSED_RETRY_MS 1000

/* What is said of a limit that is reached, but for the words. */
static struct fg_backend_refusal refusal_of(const struct fg_proxy *proxy,
                                            enum fg_cluster_limit which)
{
    static const struct {
        const char *code, *policy;
    } names[FG_CLUSTER_LIMIT_COUNT] = {
        [FG_CLUSTER_PENDING] = {"cluster_pending", "limits.pending"},
        [FG_CLUSTER_REQUESTS] = {"cluster_requests", "limits.requests"},
        [FG_CLUSTER_TUNNELS] = {"cluster_tunnels", "limits.tunnels"},
    };
    const struct fg_limit *limit = &proxy->limits.limits[which];
    return (struct fg_backend_refusal){
        .status = 503,
        .type = "overloaded",
        .code = names[which].code,
        .policy = names[which].policy,
        .value = fg_limit_used(limit),
        .limit = limit->max,
        .was_not_asked = true,
        .retry_after_ms = REFUSED_RETRY_MS,
    };
}

void fg_proxy_tell_spared(struct fg_exchange *ex, const struct fg_proxy *proxy,
                          enum fg_cluster_limit which)
{
    const struct fg_backend_refusal spared = refusal_of(proxy, which);
    fg_exchange_would_refuse(ex, &spared);
}

/* An answer of ours, with the limit that stands in its way. */
void fg_proxy_refuse_for_limit(struct fg_exchange *ex, const struct fg_proxy *proxy,
                               enum fg_cluster_limit which)
{
    const struct fg_limit *limits = proxy->limits.limits;
    char message[200];
    struct fg_backend_refusal refusal = refusal_of(proxy, which);
    refusal.message = message;
    refusal.value = refusal.limit; /* it was, a moment ago */
    if (which == FG_CLUSTER_PENDING)
        snprintf(message, sizeof(message),
                 "the %" PRIu32 " connections of cluster %.64s are in use, and %" PRIu32
                 " requests wait for one",
                 limits[FG_CLUSTER_CONNECTIONS].max, proxy->base.name, limits[which].max);
    else if (which == FG_CLUSTER_TUNNELS)
        snprintf(message, sizeof(message),
                 "cluster %.64s has %" PRIu32 " WebSockets and streams, its limit",
                 proxy->base.name, limits[which].max);
    else
        snprintf(message, sizeof(message), "cluster %.64s has %" PRIu32 " requests, its limit",
                 proxy->base.name, limits[which].max);
    fg_exchange_refuse(ex, &refusal);
}

/* How many of the cluster's endpoints are left alone. */
static struct fg_backend_refusal broken_refusal(const struct fg_proxy_thread *thread)
{
    return (struct fg_backend_refusal){
        .status = 503,
        .type = "overloaded",
        .code = "endpoints_open",
        .policy = "endpoint_breaker",
        .value = fg_counter_get(&thread->proxy->hosts.broken_count),
        .limit = thread->balance.host_count,
        .was_not_asked = true,
    };
}

void fg_proxy_tell_spared_broken(struct fg_proxy_request *request)
{
    const struct fg_backend_refusal spared = broken_refusal(request->thread);
    fg_exchange_would_refuse(request->ex, &spared);
}

void fg_proxy_request_refuse_broken(struct fg_proxy_request *request, uint64_t retry_after_ns)
{
    struct fg_backend_refusal refusal = broken_refusal(request->thread);
    char message[160];
    fg_counter_add_owned(&request->metrics->failed, 1);
    snprintf(message, sizeof(message),
             "the endpoints of cluster %.64s keep failing and are being left alone",
             request->thread->proxy->base.name);
    refusal.message = message;
    refusal.retry_after_ms = retry_after_ns / FG_MS + 1;
    fg_exchange_refuse(fg_proxy_request_let_go(request), &refusal);
}

void fg_proxy_request_on_limit(struct fg_proxy_attempt *attempt, enum fg_cluster_limit which)
{
    struct fg_proxy_request *request = attempt->request;
    const struct fg_proxy *proxy = request->thread->proxy;
    if (fg_proxy_request_other(attempt) != NULL) {
        fg_attempt_stop(attempt, false);
        return;
    }
    fg_counter_add_owned(&request->metrics->failed, 1);
    fg_counter_add_owned(&request->metrics->busy, 1);
    fg_proxy_refuse_for_limit(fg_proxy_request_let_go(request), proxy, which);
}

void fg_proxy_request_on_share(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_request *request = attempt->request;
    if (fg_proxy_request_other(attempt) != NULL) {
        fg_attempt_stop(attempt, false);
        return;
    }
    struct fg_proxy_thread *thread = request->thread;
    uint32_t held = fg_stalled_held(request);
    fg_counter_add_owned(&request->metrics->share_refused, 1);
    fg_counter_add_owned(&request->metrics->failed, 1);
    fg_refuse_for_unread(fg_proxy_request_let_go(request), held,
                         thread->proxy->limits.give_way.share);
}

void fg_proxy_request_on_tunnels(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_request *request = attempt->request;
    const struct fg_proxy_thread *thread = request->thread;
    const struct fg_limit *tunnels = &thread->proxy->limits.limits[FG_CLUSTER_TUNNELS];
    struct fg_backend_refusal refusal = refusal_of(thread->proxy, FG_CLUSTER_TUNNELS);
    fg_counter_add_owned(&request->metrics->failed, 1);
    if (fg_limit_used(tunnels) >= tunnels->max) {
        fg_proxy_refuse_for_limit(fg_proxy_request_let_go(request), thread->proxy,
                                  FG_CLUSTER_TUNNELS);
        return;
    }
    refusal.message = "this client has its share of the cluster's WebSockets and streams";
    refusal.policy = "limits.tunnels_share";
    refusal.value = fg_tunnels_held(request);
    refusal.limit = thread->tunnel_share.connections;
    fg_exchange_refuse(fg_proxy_request_let_go(request), &refusal);
}

void fg_proxy_request_on_busy(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_request *request = attempt->request;
    if (fg_proxy_request_other(attempt) != NULL) {
        fg_attempt_stop(attempt, false);
        return;
    }
    fg_counter_add_owned(&request->metrics->failed, 1);
    fg_counter_add_owned(&request->metrics->busy, 1);
    fg_refuse_for_descriptors(fg_proxy_request_let_go(request));
}
