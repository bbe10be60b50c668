/*
 * hop_methods.c: see hop_methods.h. What names no resource is never forwarded. TRACE is refused
 * everywhere, as nginx does: what it would send back are the fields that gateways and servers tell
 * each other of a client, and the client's own cookies.
 */
#include "hop_methods.h"

#include "base/text.h"

#include <inttypes.h>

static const struct fg_span max_forwards = FG_SPAN_LITERAL("max-forwards");

struct fg_span fg_hop_allow(struct fg_arena *arena, uint32_t methods)
{
    static const struct fg_span names[] = {
        [FG_METHOD_GET] = FG_SPAN_LITERAL("GET"),
        [FG_METHOD_HEAD] = FG_SPAN_LITERAL("HEAD"),
        [FG_METHOD_POST] = FG_SPAN_LITERAL("POST"),
        [FG_METHOD_PUT] = FG_SPAN_LITERAL("PUT"),
        [FG_METHOD_PATCH] = FG_SPAN_LITERAL("PATCH"),
        [FG_METHOD_DELETE] = FG_SPAN_LITERAL("DELETE"),
        [FG_METHOD_OPTIONS] = FG_SPAN_LITERAL("OPTIONS"),
    };
    char buffer[128];
    struct fg_text text = fg_text_over(buffer, sizeof(buffer));
    if ((methods & 1u << FG_METHOD_GET) != 0)
        methods |= 1u << FG_METHOD_HEAD;
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].len == 0 || (methods != 0 && (methods & 1u << i) == 0))
            continue;
        if (fg_text_span(&text).len > 0)
            fg_text_add(&text, FG_SPAN(", "));
        fg_text_add(&text, names[i]);
    }
    return fg_arena_try_copy(arena, fg_text_span(&text));
}

/* All that any route takes. */
static uint32_t methods_of_all(const struct fg_config *config)
{
    uint32_t methods = 0;
    for (size_t i = 0; i < config->route_count; i++) {
        if (config->routes[i].methods == 0)
            return 0;
        methods |= config->routes[i].methods;
    }
    return methods;
}

/* False: nothing is there. */
static bool methods_of_target(struct fg_flow *flow, uint32_t *methods)
{
    const struct fg_route_conf *route =
        fg_router_find(flow->thread->pipeline->router, &flow->req->ex, methods);
    if (route != NULL)
        *methods = route->methods;
    return route != NULL || *methods != 0;
}

static void answer_options(struct fg_flow *flow, uint32_t methods)
{
    const struct fg_field fields[] = {
        {FG_SPAN("allow"), fg_hop_allow(flow->req->ex.arena, methods)},
        {FG_SPAN("content-length"), FG_SPAN("0")},
    };
    fg_flow_respond(flow, 200, fields, 2, (struct fg_span){NULL, 0});
}

static void refuse_trace(struct fg_flow *flow)
{
    uint32_t methods = 0;
    (void)methods_of_target(flow, &methods);
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_METHOD,
                             .status = 405,
                             .type = "invalid_request",
                             .message = "TRACE is not answered here, and not passed on",
                             .position = UINT64_MAX,
                             .allow = fg_hop_allow(flow->req->ex.arena, methods),
                         });
}

static void refuse_count(struct fg_flow *flow)
{
    const struct fg_refusal refusal = {
        .status = 400,
        .type = "invalid_request",
        .message = "max-forwards is no number, or stands there twice",
        .position = UINT64_MAX,
    };
    fg_flow_send_error(flow, &refusal, "bad_header");
}

/* The fields with another value for Max-Forwards; false without memory. */
static bool set_count(struct fg_exchange *ex, size_t index, uint64_t count)
{
    struct fg_field *fields = fg_arena_try_alloc(ex->arena, ex->field_count * sizeof(*fields));
    struct fg_span value = fg_arena_try_u64(ex->arena, count);
    if (fields == NULL || value.data == NULL)
        return false;
    memcpy(fields, ex->fields, ex->field_count * sizeof(*fields));
    fields[index].value = value;
    ex->fields = fields;
    return true;
}

/* How many hops are left for an OPTIONS; true: answered. */
static bool count_hop(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    size_t index = 0;
    size_t found = 0;
    for (size_t i = 0; i < ex->field_count; i++) {
        if (fg_span_equal(ex->fields[i].name, max_forwards)) {
            index = i;
            found++;
        }
    }
    if (found == 0)
        return false;
    uint64_t count;
    uint32_t methods = 0;
    if (found > 1 || !fg_span_parse_u64(ex->fields[index].value, &count)) {
        refuse_count(flow);
        return true;
    }
    if (count == 0) {
        if (!methods_of_target(flow, &methods))
            return false; /* 404, as for any other */
        answer_options(flow, methods);
        return true;
    }
    if (set_count(ex, index, count - 1))
        return false;
    fg_flow_refuse_for_memory(flow, "the request's head");
    return true;
}

bool fg_hop_methods_answer(struct fg_flow *flow)
{
    const struct fg_exchange *ex = &flow->req->ex;
    if (ex->method == FG_METHOD_TRACE) {
        refuse_trace(flow);
        return true;
    }
    if (ex->method != FG_METHOD_OPTIONS)
        return false;
    if (fg_span_equal(ex->path, FG_SPAN("*"))) {
        answer_options(flow, methods_of_all(flow->thread->pipeline->config));
        return true;
    }
    return count_hop(flow);
}
