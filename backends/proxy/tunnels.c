/*
 * tunnels.c: how many of a cluster's connections WebSockets may hold, and one client of these.
 * Job      a tunnel holds a connection to a server for hours, without work for anybody: bounded, so
 *          that requests have connections, too, and one client cannot have all tunnels. An answer
 *          that lasts (server-sent events) is one as well, from its head on.
 * Thread   the owning event loop; shares are divided among the loops.
 * Never    ends a tunnel, or counts one that is a stream of a shared connection.
 * Law      one more: used < tunnels, and used < tunnels / 2 or held < share.
 * Source   the share is that of policies/address_share.
 */
#include "proxy_internal.h"

uint32_t fg_tunnels_held(struct fg_proxy_request *request)
{
    return fg_crowd_count(&request->thread->tunnels, fg_proxy_request_owner(request));
}

static bool is_admitted(struct fg_proxy_request *request)
{
    const struct fg_proxy_thread *thread = request->thread;
    const struct fg_limit *tunnels = &thread->proxy->limits.limits[FG_CLUSTER_TUNNELS];
    return thread->proxy->conf.limits.is_shadow || fg_limit_used(tunnels) < tunnels->max / 2 ||
           fg_address_share_admits(&thread->tunnel_share, fg_tunnels_held(request));
}

bool fg_tunnel_try_begin(struct fg_proxy_request *request)
{
    struct fg_proxy_thread *thread = request->thread;
    if (request->is_tunnel_counted)
        return true;
    if (!is_admitted(request))
        return false;
    const enum fg_cluster_took took =
        fg_cluster_limits_try_take(&thread->proxy->limits, FG_CLUSTER_TUNNELS);
    if (took == FG_CLUSTER_TOOK_NONE)
        return false;
    if (took == FG_CLUSTER_TOOK_OVER)
        fg_proxy_tell_spared(request->ex, thread->proxy, FG_CLUSTER_TUNNELS);
    request->is_tunnel_counted = true;
    fg_crowd_add(&thread->tunnels, fg_proxy_request_owner(request));
    return true;
}

bool fg_tunnel_may_ask(struct fg_proxy_request *request)
{
    return fg_cluster_may_share(&request->thread->proxy->conf) || fg_tunnel_try_begin(request);
}

bool fg_tunnel_may_last(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_request *request = attempt->request;
    bool is_stream =
        request->ex->is_lasting && !request->is_upgrade && attempt->response.content_length == -1;
    bool is_shared = attempt->stream_id != 0;
    return !is_stream || is_shared || fg_tunnel_try_begin(request);
}

void fg_tunnel_end(struct fg_proxy_request *request)
{
    struct fg_proxy_thread *thread = request->thread;
    if (!request->is_tunnel_counted)
        return;
    request->is_tunnel_counted = false;
    fg_crowd_remove(&thread->tunnels, request->owner);
    fg_cluster_limits_give(&thread->proxy->limits, FG_CLUSTER_TUNNELS);
}

void fg_tunnels_init(struct fg_proxy_thread *thread)
{
    const struct fg_proxy *proxy = thread->proxy;
    thread->tunnel_share =
        fg_address_share_make(proxy->limits.limits[FG_CLUSTER_TUNNELS].max,
                              proxy->conf.limits.tunnels_permille, proxy->thread_count, 0);
}
