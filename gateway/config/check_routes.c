/*
 * check_routes.c: that every route says what it matches and where it leads, once, and that no
 * earlier route takes all that it was meant for.
 */
#include "config/checks.h"
#include "config/loader.h"
#include "config/text_checks.h"

#include <strings.h>

static void check_match(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    const struct fg_yaml_node *match = fg_yaml_find(route->node, "match");
    if (match == NULL || match->kind != FG_YAML_MAP)
        return;
    bool has_path = fg_yaml_find(match, "path") != NULL;
    bool has_prefix = fg_yaml_find(match, "prefix") != NULL;
    if (has_path && has_prefix)
        fg_config_error_at(snapshot, match, "prefix",
                           "path and prefix together; expected one of the two");
    if (!has_path && !has_prefix)
        fg_config_error_at(snapshot, match, NULL,
                           "match has neither path nor prefix; expected one, such as prefix: /");
}

/* Exactly one of the five actions. */
static void check_action(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    static const char *const actions[] = {"to", "session", "room", "redirect", "respond"};
    const bool is_set[] = {
        fg_yaml_find(route->node, "to") != NULL,
        route->is_session || !fg_config_is_sound(route->node, "session"),
        fg_yaml_find(route->node, "room") != NULL,
        route->is_redirect || !fg_config_is_sound(route->node, "redirect"),
        route->is_response || !fg_config_is_sound(route->node, "respond"),
    };
    const char *first = NULL;
    for (size_t i = 0; i < 5; i++) {
        if (!is_set[i])
            continue;
        if (first != NULL)
            fg_config_error_at(snapshot, route->node, actions[i],
                               "%s and %s in one route; expected one of to, session, room, "
                               "redirect and respond",
                               first, actions[i]);
        else
            first = actions[i];
    }
    if (first == NULL)
        fg_config_error_at(snapshot, route->node, NULL,
                           "the route leads nowhere; expected one of to, session: true, room, "
                           "redirect and respond");
}

static void check_redirect(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    static const char *const changes[] = {"https", "host", "replace_prefix", NULL};
    const struct fg_redirect_conf *redirect = &route->conf.redirect;
    const struct fg_yaml_node *node = fg_yaml_find(route->node, "redirect");
    if (!route->is_redirect || node == NULL || node->is_refused)
        return;
    bool has_change = redirect->https || redirect->host != NULL || redirect->replace_prefix != NULL;
    bool has_to = redirect->to != NULL || !fg_config_is_sound(node, "to");
    if (has_to)
        fg_config_refuse_keys(snapshot, node, changes, "beside to");
    else if (!has_change)
        fg_config_error_at(snapshot, route->node, "redirect",
                           "the redirect leads nowhere; expected to, https: true, host or "
                           "replace_prefix");
    if (redirect->https && !has_to && redirect->host == NULL && redirect->replace_prefix == NULL &&
        route->conf.scheme != FG_SCHEME_HTTP)
        fg_config_error_at(snapshot, node, "https",
                           "the redirect leads in a circle over https; expected scheme: http in "
                           "match");
}

/* A name is checked where its value is: the mapping itself takes any field name. */
static void check_edits(struct fg_snapshot *snapshot, const struct fg_raw_route *route,
                        const char *key)
{
    static const char *const lists[] = {"set", "add"};
    const struct fg_yaml_node *edits = fg_yaml_find(route->node, key);
    for (size_t i = 0; i < 2; i++) {
        const struct fg_yaml_node *list = fg_yaml_find(edits, lists[i]);
        if (list == NULL || list->kind != FG_YAML_MAP)
            continue;
        for (const struct fg_yaml_node *at = list->first; at != NULL; at = at->next) {
            const char *problem = fg_text_check_editable_field(at->key);
            if (problem != NULL)
                fg_config_report_add(&snapshot->report, at->key_line, at->key_column,
                                     "%s: \"%.*s\" %s", lists[i], FG_SPAN_ARGS(at->key), problem);
        }
    }
}

static uint32_t forwarded_of(const struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    static const char kind[] = "cluster:";
    if (route->to == NULL || strncmp(route->to, kind, sizeof(kind) - 1) != 0)
        return 0;
    for (size_t i = 0; i < snapshot->raw.cluster_count; i++) {
        const struct fg_backend_conf *conf = &snapshot->raw.clusters[i].conf;
        if (conf->name != NULL && strcmp(conf->name, route->to + sizeof(kind) - 1) == 0)
            return conf->cluster.forwarded != 0 ? conf->cluster.forwarded : FG_FORWARDED_USUAL;
    }
    return 0;
}

/* NULL: it can be edited. */
static const char *problem_of_request_field(struct fg_span name, bool is_removed,
                                            uint32_t forwarded)
{
    static const struct fg_span written[] = {FG_SPAN_LITERAL("x-request-id"),
                                             FG_SPAN_LITERAL("x-request-timeout-ms")};
    static const struct fg_span taken_out[] = {
        FG_SPAN_LITERAL("expect"), FG_SPAN_LITERAL("http2-settings"), FG_SPAN_LITERAL("proxy"),
        FG_SPAN_LITERAL("proxy-authorization"), FG_SPAN_LITERAL("grpc-timeout")};
    static const struct fg_span told[] = {
        [FG_FORWARDED_PROTO] = FG_SPAN_LITERAL("x-forwarded-proto"),
        [FG_FORWARDED_HOST] = FG_SPAN_LITERAL("x-forwarded-host"),
    };
    for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
        if (fg_span_equal_nocase(name, written[i]))
            return "is written by the gateway itself; expected another field";
    }
    for (size_t i = 0; !is_removed && i < sizeof(taken_out) / sizeof(taken_out[0]); i++) {
        if (fg_span_equal_nocase(name, taken_out[i]))
            return "is not passed on to any server; expected another field";
    }
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
        if ((forwarded & UINT32_C(1) << i) != 0 && fg_span_equal_nocase(name, told[i]))
            return "is written anew for the cluster; expected it left out, or a list forwarded of "
                   "the cluster without it";
    }
    return NULL;
}

/* Some fields the proxy writes or takes out, whatever is there: an edit would get lost. */
static void check_request_field(struct fg_snapshot *snapshot, uint32_t forwarded, const char *list,
                                const struct fg_yaml_node *at, bool is_key)
{
    const struct fg_span name = is_key ? at->key : at->text;
    const char *problem = problem_of_request_field(name, !is_key, forwarded);
    if (problem != NULL)
        fg_config_report_add(&snapshot->report, is_key ? at->key_line : at->line,
                             is_key ? at->key_column : at->column, "%s: \"%.*s\" %s", list,
                             FG_SPAN_ARGS(name), problem);
}

static void check_request_edits(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    static const char *const lists[] = {"set", "add", "remove"};
    const struct fg_yaml_node *edits = fg_yaml_find(route->node, "request_headers");
    const uint32_t forwarded = forwarded_of(snapshot, route);
    for (size_t i = 0; i < 3; i++) {
        const bool has_keys = i < 2;
        const struct fg_yaml_node *list = fg_yaml_find(edits, lists[i]);
        if (list != NULL && list->kind == FG_YAML_SCALAR && !has_keys)
            check_request_field(snapshot, forwarded, lists[i], list, false);
        if (list == NULL || list->kind != (has_keys ? FG_YAML_MAP : FG_YAML_LIST))
            continue;
        for (const struct fg_yaml_node *at = list->first; at != NULL; at = at->next)
            check_request_field(snapshot, forwarded, lists[i], at, has_keys);
    }
}

static void check_respond(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    static const char *const content[] = {"body", "type", NULL};
    const uint32_t status = route->conf.respond_status;
    const struct fg_yaml_node *node = fg_yaml_find(route->node, "respond");
    if (route->is_response && node != NULL && (status == 204 || status == 205 || status == 304))
        fg_config_refuse_keys(snapshot, node, content, "with a status that has no content");
}

static void check_cors(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    const struct fg_cors_conf *cors = &route->conf.cors;
    const struct fg_yaml_node *node = fg_yaml_find(route->node, "cors");
    for (size_t i = 0; cors->enabled && cors->credentials && i < cors->origin_count; i++) {
        if (strcmp(cors->origins[i], "*") == 0)
            fg_config_error_at(snapshot, node, "credentials",
                               "credentials for every origin; expected origins by name: any page "
                               "could act for its visitors otherwise");
    }
}

static bool is_below(const char *prefix, const char *path)
{
    struct fg_span span = fg_span_from_string(prefix);
    struct fg_span whole = fg_span_from_string(path);
    return fg_span_starts_with(whole, span) &&
           (whole.len == span.len || span.data[span.len - 1] == '/' || whole.data[span.len] == '/');
}

static void check_prefixes(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    static const char *const prefixes[] = {"strip_prefix", "add_prefix", NULL};
    const struct fg_route_conf *conf = &route->conf;
    if (conf->action != FG_ROUTE_BACKEND) {
        fg_config_refuse_keys(snapshot, route->node, prefixes, "without to");
        return;
    }
    const char *matched = conf->path != NULL ? conf->path : conf->path_prefix;
    if (conf->strip_prefix != NULL && matched != NULL && !is_below(conf->strip_prefix, matched))
        fg_config_error_at(snapshot, route->node, "strip_prefix",
                           "strip_prefix %s is no part of %s; expected the beginning of what the "
                           "route matches",
                           conf->strip_prefix, matched);
    if (conf->add_prefix != NULL && conf->add_prefix[strlen(conf->add_prefix) - 1] == '/')
        fg_config_error_at(snapshot, route->node, "add_prefix",
                           "add_prefix %s ends with the '/' that the rest of the path begins with; "
                           "expected it without",
                           conf->add_prefix);
}

static void check_stream_slot(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    if (route->conf.stream_holds_slot && route->conf.stream_idle_ns == 0)
        fg_config_error_at(snapshot, route->node, "stream_holds_slot",
                           "stream_holds_slot has no effect without stream_idle_timeout; expected "
                           "it left out");
}

static void check_websocket(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    if (!route->conf.websocket)
        return;
    if (route->to == NULL || strncmp(route->to, "cluster:", 8) != 0)
        fg_config_error_at(snapshot, route->node, "websocket",
                           "websocket without a cluster to carry it; expected to: cluster:NAME");
    else if (route->conf.cache)
        fg_config_error_at(snapshot, route->node, "websocket",
                           "websocket and cache in one route; expected one of the two");
}

/* The pace is found out from one backend's answers to one gateway. */
static void check_auto_room(struct fg_snapshot *snapshot, const struct fg_raw_route *route,
                            const struct fg_yaml_node *node)
{
    static const char *const burst[] = {"burst", NULL};
    const struct fg_waiting_room_conf *room = &route->conf.waiting_room;
    if (room->admit.amount > 0 || !fg_config_is_written(node, "admit") ||
        !fg_config_is_sound(node, "admit"))
        return;
    fg_config_refuse_keys(snapshot, node, burst, "with admit auto");
    if (route->conf.action != FG_ROUTE_BACKEND)
        fg_config_error_at(snapshot, node, "admit",
                           "auto without a backend whose pace could be followed; expected a rate");
    if (room->is_shared)
        fg_config_error_at(snapshot, node, "admit",
                           "auto for a line that gateways share, of whose backends each sees its "
                           "own part alone; expected a rate");
}

static void check_room(struct fg_snapshot *snapshot, size_t index)
{
    const struct fg_raw_route *route = &snapshot->raw.routes[index];
    const struct fg_waiting_room_conf *room = &route->conf.waiting_room;
    const struct fg_yaml_node *node = fg_yaml_find(route->node, "waiting_room");
    if (!room->enabled || node == NULL || node->is_refused)
        return;
    if (room->ticket_rotate_ns < room->keep_ns || room->ticket_rotate_ns < room->grace_ns ||
        (room->session_ns > 0 && room->ticket_rotate_ns < room->session_ns))
        fg_config_error_at(snapshot, node, "ticket_rotate",
                           "ticket_rotate is shorter than keep, grace or session, so that tickets "
                           "would end before what they are for; expected it longer");
    check_auto_room(snapshot, route, node);
    if (room->is_shared && !snapshot->raw.shared_state.enabled)
        fg_config_error_at(snapshot, node, "shared",
                           "shared without policies.shared_state; expected the Redis that the "
                           "gateways share");
    for (size_t i = 0; i < index && room->state_file != NULL; i++) {
        const struct fg_raw_route *earlier = &snapshot->raw.routes[i];
        const char *other = earlier->conf.waiting_room.state_file;
        if (other != NULL && strcmp(other, room->state_file) == 0)
            fg_config_error_at(snapshot, node, "state_file",
                               "the file is that of the route in line %u; expected one of its own",
                               earlier->node->line);
    }
}

static void check_limit(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    const struct fg_route_conf *conf = &route->conf;
    fg_config_check_limit(snapshot, route->node, &conf->concurrency, &conf->queue);
    if (!conf->has_concurrency && fg_config_is_written(route->node, "queue") &&
        fg_config_is_sound(route->node, "concurrency"))
        fg_config_error_at(snapshot, route->node, "queue",
                           "queue without concurrency, so that nobody waits in it; expected both");
}

static void check_unused_keys(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    if (route->conf.action == FG_ROUTE_BACKEND)
        return;
    if (route->conf.cache)
        fg_config_error_at(snapshot, route->node, "cache",
                           "cache has no effect without to; expected it left out");
    if (route->conf.has_concurrency)
        fg_config_error_at(snapshot, route->node, "concurrency",
                           "concurrency has no effect without to; expected it left out");
}

/* What is kept whole must fit beside the head. */
static void check_buffer(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    const struct fg_limits_conf *limits = &snapshot->raw.limits;
    const struct fg_route_conf *conf = &route->conf;
    bool is_signed = (conf->identity_by & UINT32_C(1) << FG_IDENTITY_BY_SIGNATURE) != 0;
    uint64_t room = limits->request_memory_max - limits->header_bytes_max;
    if ((!conf->buffer_request && !is_signed) ||
        limits->header_bytes_max > limits->request_memory_max || conf->body_bytes_max <= room)
        return;
    fg_config_error_at(snapshot, route->node, "body_max",
                       "body_max is more than a request may keep (limits.request_memory_max less "
                       "limits.header_max: %llu bytes) and the route keeps it whole; expected a "
                       "smaller one",
                       (unsigned long long)room);
}

/* Does everything that `later` matches match `earlier` too? */
static bool takes_all_of(const struct fg_route_conf *earlier, const struct fg_route_conf *later)
{
    const char *path = later->path != NULL ? later->path : later->path_prefix;
    if (path == NULL || earlier->header_count > 0 || earlier->parameter_count > 0 ||
        (earlier->scheme != FG_SCHEME_ANY && earlier->scheme != later->scheme))
        return false;
    if (earlier->host != NULL &&
        (later->host == NULL || strcasecmp(earlier->host, later->host) != 0))
        return false;
    if (earlier->methods != 0 && (later->methods == 0 || (later->methods & ~earlier->methods) != 0))
        return false;
    if (earlier->path != NULL)
        return later->path != NULL && strcmp(earlier->path, path) == 0;
    return earlier->path_prefix != NULL && is_below(earlier->path_prefix, path);
}

static void check_reach(struct fg_snapshot *snapshot, size_t index)
{
    const struct fg_raw_route *route = &snapshot->raw.routes[index];
    for (size_t i = 0; i < index; i++) {
        const struct fg_raw_route *earlier = &snapshot->raw.routes[i];
        if (!takes_all_of(&earlier->conf, &route->conf))
            continue;
        fg_config_error_at(snapshot, route->node, NULL,
                           "the route is never reached: the one in line %u takes all of its "
                           "requests; expected the narrower one first",
                           earlier->node->line);
        return;
    }
}

static void check_name(struct fg_snapshot *snapshot, size_t index)
{
    const struct fg_raw_route *route = &snapshot->raw.routes[index];
    if (fg_yaml_find(route->node, "name") == NULL || route->conf.name == NULL)
        return;
    for (size_t i = 0; i < index; i++) {
        const struct fg_raw_route *earlier = &snapshot->raw.routes[i];
        if (earlier->conf.name == NULL || strcmp(earlier->conf.name, route->conf.name) != 0)
            continue;
        fg_config_error_at(snapshot, route->node, "name",
                           "the name \"%s\" is taken by the route in line %u; expected one of its "
                           "own",
                           route->conf.name, earlier->node->line);
        return;
    }
}

void fg_config_check_routes(struct fg_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->raw.route_count; i++) {
        const struct fg_raw_route *route = &snapshot->raw.routes[i];
        if (route->node->kind != FG_YAML_MAP)
            continue;
        check_match(snapshot, route);
        check_action(snapshot, route);
        check_prefixes(snapshot, route);
        check_websocket(snapshot, route);
        check_stream_slot(snapshot, route);
        check_room(snapshot, i);
        check_limit(snapshot, route);
        check_unused_keys(snapshot, route);
        check_buffer(snapshot, route);
        check_redirect(snapshot, route);
        check_edits(snapshot, route, "request_headers");
        check_edits(snapshot, route, "response_headers");
        check_request_edits(snapshot, route);
        check_respond(snapshot, route);
        check_cors(snapshot, route);
        check_reach(snapshot, i);
        check_name(snapshot, i);
    }
}
