/*
 * metrics.c: the blocks' memory and the names that metrics, logs and errors share.
 */
#include "metrics.h"

#include <stdlib.h>
#include <string.h>

struct fg_thread_metrics *fg_thread_metrics_create(size_t route_count)
{
    struct fg_thread_metrics *metrics =
        calloc(1, sizeof(*metrics) + (route_count + 1) * sizeof(metrics->routes[0]));
    if (metrics != NULL)
        metrics->route_count = route_count;
    return metrics;
}

void fg_thread_metrics_destroy(struct fg_thread_metrics *metrics)
{
    free(metrics);
}

const char *fg_refused_name(enum fg_refused refused)
{
    static const char *const names[FG_REFUSED_COUNT] = {
        [FG_REFUSED_BAD_REQUEST] = "bad_request",
        [FG_REFUSED_NO_ROUTE] = "no_route",
        [FG_REFUSED_METHOD] = "method_not_allowed",
        [FG_REFUSED_MISDIRECTED] = "misdirected",
        [FG_REFUSED_UNAUTHENTICATED] = "unauthenticated",
        [FG_REFUSED_OVERLOAD] = "overload",
        [FG_REFUSED_WAITING_ROOM] = "waiting_room",
        [FG_REFUSED_RATE_LIMIT] = "rate_limit",
        [FG_REFUSED_PRIORITY] = "priority_shed",
        [FG_REFUSED_QUEUE_FULL] = "queue_full",
        [FG_REFUSED_QUEUE_BYTES] = "queue_bytes",
        [FG_REFUSED_QUEUE_TOKENS] = "queue_tokens",
        [FG_REFUSED_QUEUE_SHED] = "queue_shed",
        [FG_REFUSED_QUEUE_TIMEOUT] = "queue_timeout",
        [FG_REFUSED_CANNOT_MEET_DEADLINE] = "cannot_meet_deadline",
        [FG_REFUSED_BREAKER_OPEN] = "breaker_open",
        [FG_REFUSED_DEADLINE] = "deadline_exceeded",
        [FG_REFUSED_BODY_TOO_LARGE] = "body_too_large",
        [FG_REFUSED_BODY_TIMEOUT] = "body_timeout",
        [FG_REFUSED_NO_MEMORY] = "no_memory",
        [FG_REFUSED_RESERVE] = "reserve",
        [FG_REFUSED_TUNNELS] = "cluster_tunnels",
        [FG_REFUSED_UNREAD] = "unread_answers",
        [FG_REFUSED_NOT_CACHED] = "not_cached",
        [FG_REFUSED_CLUSTER_REQUESTS] = "cluster_requests",
        [FG_REFUSED_CLUSTER_PENDING] = "cluster_pending",
        [FG_REFUSED_ENDPOINTS_OPEN] = "endpoints_open",
        [FG_REFUSED_BACKEND_BUSY] = "backend_busy",
        [FG_REFUSED_ORDERS_BUSY] = "orders_busy",
        [FG_REFUSED_KV_BLOCKS] = "no_kv_blocks",
        [FG_REFUSED_NO_WORKER] = "no_worker",
        [FG_REFUSED_DRAINING] = "draining",
        [FG_REFUSED_HELPERS] = "overloaded",
        [FG_REFUSED_ROOM_STREAMS] = "too_many_streams",
    };
    return names[refused];
}

enum fg_refused fg_refused_of_name(const char *name)
{
    unsigned reason = 0;
    while (reason < FG_REFUSED_COUNT && strcmp(fg_refused_name((enum fg_refused)reason), name) != 0)
        reason++;
    return (enum fg_refused)reason;
}

const char *fg_failed_name(enum fg_failed failed)
{
    static const char *const names[FG_FAILED_COUNT] = {
        [FG_FAILED_UNREACHABLE] = "backend_unreachable", [FG_FAILED_RESET] = "backend_reset",
        [FG_FAILED_TIMEOUT] = "backend_timeout",         [FG_FAILED_BUSY] = "backend_busy",
        [FG_FAILED_NO_TUNNEL] = "backend_no_websocket",  [FG_FAILED_INTERNAL] = "internal",
        [FG_FAILED_SLOW_READER] = "slow_reader",         [FG_FAILED_ANSWER_LATE] = "answer_late",
        [FG_FAILED_ANSWER_SILENT] = "answer_silent",
    };
    return names[failed];
}

enum fg_failed fg_failed_of_name(const char *name)
{
    for (unsigned i = FG_FAILED_NOT + 1; i < FG_FAILED_COUNT; i++) {
        if (strcmp(fg_failed_name((enum fg_failed)i), name) == 0)
            return (enum fg_failed)i;
    }
    return FG_FAILED_NOT;
}

const char *fg_hop_name(enum fg_hop hop)
{
    static const char *const names[FG_HOP_COUNT] = {
        [FG_HOP_UPLOAD] = "upload", [FG_HOP_CACHE_WAIT] = "cache_wait",
        [FG_HOP_SHARED] = "shared", [FG_HOP_ROUTE_QUEUE] = "route_queue",
        [FG_HOP_QUEUE] = "queue",   [FG_HOP_BACKEND] = "backend",
        [FG_HOP_BODY] = "body",
    };
    return names[hop];
}

const char *fg_cache_result_name(enum fg_cache_result result)
{
    static const char *const names[FG_CACHE_RESULT_COUNT] = {
        [FG_CACHE_RESULT_NONE] = "none",     [FG_CACHE_RESULT_HIT] = "hit",
        [FG_CACHE_RESULT_MISS] = "miss",     [FG_CACHE_RESULT_COALESCED] = "coalesced",
        [FG_CACHE_RESULT_STALE] = "stale",   [FG_CACHE_RESULT_REVALIDATED] = "revalidated",
        [FG_CACHE_RESULT_BYPASS] = "bypass",
    };
    return names[result];
}
