/*
 * origin.c: see origin.h.
 *
 *    client_addr   the client: what limits, logs and routes go by
 *    peer_addr     who the connection is from; the last hop of x-forwarded-for towards backends
 */
#include "pipeline/origin.h"

#include "http/forwarded.h"

static bool is_trusted(const struct fg_request *req)
{
    struct fg_ip peer;
    const struct fg_listener_conf *conf = req->listener;
    return conf != NULL && conf->trusted_proxy_count > 0 && fg_ip_parse(req->ex.peer_addr, &peer) &&
           fg_cidr_list_contains(conf->trusted_proxies, conf->trusted_proxy_count, &peer);
}

static bool has_any(const struct fg_exchange *ex)
{
    for (size_t i = 0; i < ex->field_count; i++) {
        if (fg_forwarded_is_field(ex->fields[i].name))
            return true;
    }
    return false;
}

/* "client, hop, hop" without the peer, which is added on the way out. */
static struct fg_span chain_of(struct fg_arena *arena, const struct fg_forwarded *forwarded)
{
    char text[FG_FORWARDED_HOPS_MAX * (FG_IP_TEXT_MAX + 2)];
    size_t at = 0;
    for (size_t i = forwarded->hop_count; i-- > 0;) {
        at += fg_ip_format(&forwarded->hops[i], text + at);
        if (i > 0) {
            text[at++] = ',';
            text[at++] = ' ';
        }
    }
    return fg_arena_try_copy(arena, fg_span_make(text, at));
}

/* Host, port and path are what a trusted proxy says of itself; all else is written anew or dropped.
 */
static bool is_kept(struct fg_span name, bool is_from_proxy, bool is_believed)
{
    if (!fg_forwarded_is_field(name))
        return true;
    if (fg_forwarded_is_path(name))
        return is_from_proxy;
    return is_believed && (fg_span_equal(name, FG_SPAN("x-forwarded-host")) ||
                           fg_span_equal(name, FG_SPAN("x-forwarded-port")));
}

bool fg_origin_settle(struct fg_request *req)
{
    struct fg_exchange *ex = &req->ex;
    ex->peer_addr = ex->client_addr;
    if (!has_any(ex))
        return true;
    struct fg_forwarded forwarded = {.hop_count = 0}; /* half a KiB, which few need */
    struct fg_span chain = {NULL, 0};
    bool is_from_proxy = is_trusted(req);
    if (is_from_proxy)
        fg_forwarded_read(req->listener, ex->fields, ex->field_count, &forwarded);
    struct fg_field *fields =
        fg_arena_try_alloc(ex->arena, (ex->field_count + 1) * sizeof(*fields));
    if (fields == NULL)
        return false;
    bool is_believed = is_from_proxy && req->listener->forwarded == FG_FORWARDED_X;
    size_t count = 0;
    for (size_t i = 0; i < ex->field_count; i++) {
        if (is_kept(ex->fields[i].name, is_from_proxy, is_believed))
            fields[count++] = ex->fields[i];
    }
    if (forwarded.hop_count > 0) {
        char text[FG_IP_TEXT_MAX];
        size_t len = fg_ip_format(&forwarded.hops[forwarded.hop_count - 1], text);
        ex->client_addr = fg_arena_try_copy(ex->arena, fg_span_make(text, len));
        chain = chain_of(ex->arena, &forwarded);
        if (ex->client_addr.data == NULL || chain.data == NULL)
            return false;
        fields[count++] = (struct fg_field){FG_SPAN("x-forwarded-for"), chain};
    }
    if (forwarded.scheme.data != NULL)
        ex->scheme = forwarded.scheme;
    ex->fields = fields;
    ex->field_count = count;
    return true;
}
