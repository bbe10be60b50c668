/*
 * stage_route.c: find the route and take over its settings. Redirects and direct responses end
 * here, or, where the route asks who it is, has them stand in line or limits them, once that is
 * settled (stage_body.c).
 */
#include "flow.h"

#include "backends/grpc.h"
#include "http/fields.h"
#include "pipeline/cors.h"
#include "pipeline/hop_methods.h"

static void refuse_unrouted(struct fg_flow *flow, uint32_t other_methods)
{
    bool is_method = other_methods != 0;
    fg_flow_refuse(
        flow, &(struct fg_refusal){
                  .reason = is_method ? FG_REFUSED_METHOD : FG_REFUSED_NO_ROUTE,
                  .status = is_method ? 405 : 404,
                  .type = "invalid_request",
                  .message = is_method ? "this path does not take this method; see the allow field"
                                       : "no route of the configuration matches this request",
                  .position = UINT64_MAX,
                  .allow = is_method ? fg_hop_allow(flow->req->ex.arena, other_methods)
                                     : (struct fg_span){NULL, 0},
              });
}

/* The client is to come again by a connection to that host (RFC 9110 section 15.5.20). */
static bool is_misdirected(struct fg_flow *flow)
{
    const struct fg_exchange *ex = &flow->req->ex;
    if (ex->link == NULL || ex->link->is_misdirected == NULL ||
        !ex->link->is_misdirected(ex->link, ex->authority))
        return false;
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_MISDIRECTED,
                             .status = 421,
                             .type = "invalid_request",
                             .message = "this connection is for another host; open one for this",
                             .position = UINT64_MAX,
                         });
    return true;
}

/* What follows the part of the path that the route matched, with one slash between. */
static struct fg_span rest_of_path(const struct fg_flow *flow, const char *replacement)
{
    const struct fg_exchange *ex = &flow->req->ex;
    size_t matched =
        flow->route->path_prefix == NULL ? ex->path.len : strlen(flow->route->path_prefix);
    struct fg_span rest = {ex->path.data + matched, ex->path.len - matched};
    size_t len = strlen(replacement);
    bool ends = len > 0 && replacement[len - 1] == '/';
    if (ends && rest.len > 0 && rest.data[0] == '/')
        return fg_span_make(rest.data + 1, rest.len - 1);
    if (!ends && rest.len > 0 && rest.data[0] != '/')
        return fg_span_make(rest.data - 1, rest.len + 1); /* the prefix ended in one */
    return rest;
}

static struct fg_span location_of(const struct fg_flow *flow)
{
    const struct fg_redirect_conf *redirect = &flow->route->redirect;
    const struct fg_exchange *ex = &flow->req->ex;
    if (redirect->to != NULL)
        return fg_span_from_string(redirect->to);
    struct fg_span scheme = redirect->https ? FG_SPAN("https") : ex->scheme;
    struct fg_span host = redirect->host != NULL ? fg_span_from_string(redirect->host)
                          : redirect->https      ? fg_authority_host(ex->authority)
                                                 : ex->authority;
    struct fg_span prefix = {"", 0};
    struct fg_span path = ex->path;
    if (redirect->replace_prefix != NULL) {
        prefix = fg_span_from_string(redirect->replace_prefix);
        path = rest_of_path(flow, redirect->replace_prefix);
    }
    bool has_query = ex->query.data != NULL;
    return fg_arena_try_printf(ex->arena, "%.*s://%.*s%.*s%.*s%s%.*s", FG_SPAN_ARGS(scheme),
                               FG_SPAN_ARGS(host), FG_SPAN_ARGS(prefix), FG_SPAN_ARGS(path),
                               has_query ? "?" : "", has_query ? (int)ex->query.len : 0,
                               has_query ? ex->query.data : "");
}

/* HTTP/1.0 need not say which host it means; then there is no URL to send it to. */
static bool is_host_missing(const struct fg_flow *flow)
{
    const struct fg_redirect_conf *redirect = &flow->route->redirect;
    return redirect->to == NULL && redirect->host == NULL && flow->req->ex.authority.len == 0;
}

static void refuse_hostless(struct fg_flow *flow)
{
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_BAD_REQUEST,
                             .status = 400,
                             .type = "invalid_request",
                             .message = "the request names no host to be sent on to",
                             .position = UINT64_MAX,
                         });
}

/* With a note for whoever reads it and does not follow (RFC 9110 section 15.4). */
static void redirect(struct fg_flow *flow)
{
    struct fg_arena *arena = flow->req->ex.arena;
    struct fg_span location = location_of(flow);
    struct fg_span note = {NULL, 0};
    if (location.data != NULL)
        note = fg_arena_try_printf(arena, "See %.*s\n", FG_SPAN_ARGS(location));
    const struct fg_field fields[] = {
        {FG_SPAN("location"), location},
        {FG_SPAN("content-type"), FG_SPAN("text/plain; charset=utf-8")},
        {FG_SPAN("content-length"), fg_arena_try_u64(arena, note.len)},
    };
    if (note.data == NULL || fields[2].value.data == NULL) {
        fg_flow_set_state(flow, FG_FLOW_RESPONDING);
        fg_flow_cut(flow);
        return;
    }
    fg_flow_respond(flow, (unsigned)flow->route->redirect.status, fields,
                    sizeof(fields) / sizeof(fields[0]), note);
}

static void respond(struct fg_flow *flow)
{
    struct fg_span body = fg_span_from_string(flow->route->respond_body);
    const struct fg_field fields[] = {
        {FG_SPAN("content-type"), fg_span_from_string(flow->route->respond_type)},
        {FG_SPAN("content-length"), fg_arena_try_u64(flow->req->ex.arena, body.len)},
    };
    /* Neither has content, and of a 304 both fields would be taken for those of what is stored. */
    unsigned status = flow->route->respond_status;
    size_t count = status == 204 || status == 304 ? 0 : 2;
    fg_flow_respond_configured(flow, status, fields, count, body);
}

void fg_route_answer(struct fg_flow *flow)
{
    if (flow->route->action != FG_ROUTE_REDIRECT)
        respond(flow);
    else if (is_host_missing(flow))
        refuse_hostless(flow);
    else
        redirect(flow);
}

/* A preflight is for the route of the method that it asks for, when that route has CORS. */
static const struct fg_route_conf *find_preflight_route(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    struct fg_span method = fg_cors_preflight_method(ex);
    uint32_t other_methods;
    if (method.data == NULL)
        return NULL;
    ex->method = fg_method_of(method);
    const struct fg_route_conf *route =
        fg_router_find(flow->thread->pipeline->router, ex, &other_methods);
    ex->method = FG_METHOD_OPTIONS;
    return route != NULL && route->cors.enabled ? route : NULL;
}

/* UINT64_MAX: the client sets none. */
static uint64_t grpc_timeout_of(const struct fg_exchange *ex)
{
    uint64_t timeout_ns;
    struct fg_span field = fg_exchange_field(ex, FG_SPAN("grpc-timeout"));
    return field.data != NULL && fg_grpc_parse_timeout(field, &timeout_ns) ? timeout_ns
                                                                           : UINT64_MAX;
}

/* The route's time, or less if the client says that it will not wait that long. */
static uint64_t timeout_of(const struct fg_flow *flow)
{
    uint64_t wanted_ms;
    struct fg_span field = fg_exchange_field(&flow->req->ex, FG_SPAN("x-request-timeout-ms"));
    uint64_t timeout_ns = flow->route->timeout_ns;
    if (field.data != NULL && fg_span_parse_u64(field, &wanted_ms) &&
        wanted_ms < timeout_ns / FG_MS)
        timeout_ns = wanted_ms * FG_MS;
    uint64_t grpc_ns = grpc_timeout_of(&flow->req->ex);
    return grpc_ns < timeout_ns ? grpc_ns : timeout_ns;
}

/* A stream goes on behind its head: its server must not hear of an end that the head alone has. */
static uint64_t stream_deadline_of(const struct fg_flow *flow)
{
    if (flow->route->stream_idle_ns == 0)
        return 0;
    uint64_t grpc_ns = grpc_timeout_of(&flow->req->ex);
    uint64_t started_ns = flow->req->ex.started_ns;
    return grpc_ns < UINT64_MAX - started_ns ? started_ns + grpc_ns : UINT64_MAX;
}

/* The path as the backend is to see it. False: no memory. */
static bool rewrite_path(struct fg_exchange *ex, const struct fg_route_conf *route)
{
    struct fg_span strip =
        fg_span_from_string(route->strip_prefix == NULL ? "" : route->strip_prefix);
    if (strip.len > 0 && strip.data[strip.len - 1] == '/')
        strip.len--; /* the rest keeps its slash */
    if (fg_span_starts_with(ex->path, strip)) {
        ex->path.data += strip.len;
        ex->path.len -= strip.len;
    }
    if (route->add_prefix != NULL)
        ex->path =
            fg_arena_try_printf(ex->arena, "%s%.*s", route->add_prefix, FG_SPAN_ARGS(ex->path));
    else if (ex->path.len == 0)
        ex->path = FG_SPAN("/");
    return ex->path.data != NULL;
}

/*
 * A WebSocket where the route has none: HTTP/1.1 goes on as the plain GET that it also is (RFC 9110
 * section 7.8); a CONNECT cannot (RFC 8441 section 5).
 */
static bool is_tunnel_refused(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    if (ex->upgrade.data == NULL || flow->route->websocket)
        return false;
    ex->upgrade = (struct fg_span){NULL, 0};
    flow->is_body_complete = true;
    if (flow->req->version != FG_HTTP_2)
        return false;
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_METHOD,
                             .status = 501,
                             .type = "invalid_request",
                             .message = "this route has no WebSocket",
                             .position = UINT64_MAX,
                         });
    return true;
}

/* From here on the request's memory is its backend's. False: answered. */
static bool charge_memory(struct fg_flow *flow)
{
    struct fg_pipeline_thread *thread = flow->thread;
    if (flow->route->action != FG_ROUTE_BACKEND)
        return true;
    struct fg_arena_account *account = &thread->accounts[flow->route->backend_index];
    const uint64_t refused_before = fg_counter_get(&account->refused);
    const uint64_t most = fg_loop_arena_pool(thread->loop)->chunks_max;
    if (fg_arena_charge(flow->req->ex.arena, account)) {
        if (fg_counter_get(&account->refused) > refused_before)
            fg_flow_would_refuse(flow, "reserve", FG_REFUSED_RESERVE,
                                 account->used * FG_ARENA_CHUNK_BYTES, most * FG_ARENA_CHUNK_BYTES);
        return true;
    }
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_RESERVE,
                             .status = 503,
                             .type = "overloaded",
                             .message = "the request memory that is left is reserved for others",
                             .retry_after_ns = FG_S,
                             .policy = "reserve",
                             .value = account->used * FG_ARENA_CHUNK_BYTES,
                             .limit = most * FG_ARENA_CHUNK_BYTES,
                             .position = UINT64_MAX,
                         });
    return false;
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    uint32_t other_methods = 0;
    if (is_misdirected(flow) || fg_hop_methods_answer(flow))
        return FG_STAGE_RESPOND;
    const struct fg_route_conf *preflight = find_preflight_route(flow);
    flow->route = preflight != NULL
                      ? preflight
                      : fg_router_find(flow->thread->pipeline->router, ex, &other_methods);
    if (flow->route == NULL) {
        refuse_unrouted(flow, other_methods);
        return FG_STAGE_RESPOND;
    }
    flow->metrics = &flow->thread->metrics->routes[fg_flow_route_index(flow)];
    ex->route = fg_span_from_string(flow->route->name);
    ex->priority = flow->route->priority;
    ex->may_be_cached = flow->route->cache;
    ex->body_bytes_max = flow->route->body_bytes_max;
    flow->req->ends_with_input = flow->route->half_close == FG_HALF_CLOSE_CANCEL;
    uint64_t timeout_ns = timeout_of(flow);
    flow->is_deadline_clients = timeout_ns < flow->route->timeout_ns;
    ex->deadline_ns = ex->started_ns + timeout_ns;
    ex->stream_deadline_ns = stream_deadline_of(flow);
    ex->is_lasting = flow->route->stream_idle_ns != 0 && !flow->route->stream_holds_slot;
    flow->client_path = ex->path;
    if (preflight != NULL) {
        fg_cors_answer_preflight(flow);
        return FG_STAGE_RESPOND;
    }
    if (is_tunnel_refused(flow) || !charge_memory(flow))
        return FG_STAGE_RESPOND;
    if (fg_route_conf_answers_at_once(flow->route)) {
        fg_route_answer(flow);
        return FG_STAGE_RESPOND;
    }
    if (!rewrite_path(ex, flow->route)) {
        ex->path = flow->client_path;
        fg_flow_refuse_for_memory(flow, "the path");
        return FG_STAGE_RESPOND;
    }
    if (ex->deadline_ns <= fg_flow_now_ns(flow)) {
        fg_flow_refuse_late(flow);
        return FG_STAGE_RESPOND;
    }
    fg_flow_arm_deadline(flow, ex->deadline_ns);
    return FG_STAGE_CONTINUE;
}

const struct fg_stage fg_stage_route = {.name = "route", .run = run};
