/*
 * room_client.c: see room_client.h.
 */
#include "room_client.h"

#include <inttypes.h>

#define COOKIE_NAME_BYTES 32

/* ---- cookies ---- */

static struct fg_span cookie_name(const struct fg_room *room, char buffer[COOKIE_NAME_BYTES])
{
    struct fg_text text = fg_text_over(buffer, COOKIE_NAME_BYTES);
    fg_text_add(&text, FG_SPAN("fg-room-"));
    fg_text_add_hex(&text, fg_span_hash(fg_span_from_string(fg_room_name(room)), 0));
    return fg_text_span(&text);
}

static struct fg_span value_in(struct fg_span cookies, struct fg_span name)
{
    struct fg_span rest = cookies;
    while (rest.data != NULL) {
        struct fg_span pair = fg_span_trim(fg_span_split(&rest, ';'));
        if (pair.len > name.len && pair.data[name.len] == '=' && fg_span_starts_with(pair, name))
            return fg_span_make(pair.data + name.len + 1, pair.len - name.len - 1);
    }
    return (struct fg_span){NULL, 0};
}

/* HTTP/2 clients may cut the field into crumbs (RFC 9113 section 8.2.3). */
static struct fg_span find_cookie(const struct fg_exchange *ex, const struct fg_room *room)
{
    char buffer[COOKIE_NAME_BYTES];
    struct fg_span name = cookie_name(room, buffer), value = {NULL, 0};
    for (size_t i = 0; i < ex->field_count && value.data == NULL; i++) {
        if (fg_span_equal(ex->fields[i].name, FG_SPAN("cookie")))
            value = value_in(ex->fields[i].value, name);
    }
    return value;
}

struct fg_room_caller fg_room_caller_of(const struct fg_flow *flow, const struct fg_room *room)
{
    const struct fg_exchange *ex = &flow->req->ex;
    bool is_user = ex->user_id.len > 0;
    struct fg_span paper = fg_exchange_field(ex, FG_SPAN("x-floodgate-ticket"));
    return (struct fg_room_caller){
        .holder = {is_user, is_user ? ex->user_id : ex->client_addr},
        .paper = paper.data != NULL ? paper : find_cookie(ex, room),
        .lot = fg_span_hash(ex->request_id, 1),
        .now_ns = fg_clock_monotonic_ns(),
        .now_s = fg_clock_wall_ns() / FG_S,
        .address = ex->client_addr,
    };
}

/* The value has `needle` somewhere, in lower case as all browsers write it. */
static bool has_text(struct fg_span value, struct fg_span needle)
{
    for (size_t i = 0; i + needle.len <= value.len; i++) {
        if (memcmp(value.data + i, needle.data, needle.len) == 0)
            return true;
    }
    return false;
}

bool fg_room_wants_page(const struct fg_flow *flow)
{
    const struct fg_exchange *ex = &flow->req->ex;
    return (ex->method == FG_METHOD_GET || ex->method == FG_METHOD_HEAD) &&
           has_text(fg_exchange_field(ex, FG_SPAN("accept")), FG_SPAN("text/html"));
}

void fg_room_give_paper(struct fg_flow *flow, const struct fg_room *room,
                        const struct fg_room_visit *visit)
{
    const struct fg_exchange *ex = &flow->req->ex;
    if (visit->paper.data != NULL)
        flow->room_paper = fg_arena_try_copy(ex->arena, visit->paper);
    if (flow->room_paper.data == NULL ||
        (!fg_room_wants_page(flow) && find_cookie(ex, room).data == NULL))
        return;
    char buffer[COOKIE_NAME_BYTES];
    struct fg_span name = cookie_name(room, buffer);
    flow->room_cookie = fg_arena_try_printf(
        ex->arena, "%.*s=%.*s; Path=/; Max-Age=%" PRIu64 "; HttpOnly; SameSite=Lax%s",
        FG_SPAN_ARGS(name), FG_SPAN_ARGS(visit->paper), visit->paper_for_ns / FG_S + 1,
        flow->req->is_tls ? "; Secure" : "");
}

/* ---- where somebody stands ---- */

static const char *state_of(const struct fg_waiting_room_place *place)
{
    switch (place->status) {
    case FG_WAITING_ROOM_ADMITTED:
        return place->is_direct ? "open" : "admitted";
    case FG_WAITING_ROOM_WAITING:
        return "waiting";
    case FG_WAITING_ROOM_FULL:
        return "full";
    case FG_WAITING_ROOM_EXPIRED:
    case FG_WAITING_ROOM_USED:
    case FG_WAITING_ROOM_UNKNOWN:
        break;
    }
    return "none";
}

const char *fg_room_fate_name(enum fg_room_fate fate)
{
    static const char *const names[] = {
        [FG_ROOM_FATE_NONE] = NULL,         [FG_ROOM_FATE_NOT_VALID] = "not_valid",
        [FG_ROOM_FATE_ENDED] = "ended",     [FG_ROOM_FATE_USED] = "used",
        [FG_ROOM_FATE_EXPIRED] = "expired", [FG_ROOM_FATE_GONE] = "gone"};
    return names[fate];
}

static void add_number(struct fg_text *text, struct fg_span name, uint64_t value)
{
    fg_text_add(text, FG_SPAN(",\""));
    fg_text_add(text, name);
    fg_text_add(text, FG_SPAN("\":"));
    fg_text_add_u64(text, value);
}

void fg_room_add_json(struct fg_text *text, const struct fg_room_visit *visit)
{
    const struct fg_waiting_room_place *place = &visit->place;
    fg_text_add(text, FG_SPAN("{\"state\":\""));
    fg_text_add(text, fg_span_from_string(visit->has_pass ? "open" : state_of(place)));
    fg_text_add(text, FG_SPAN("\""));
    if (place->status == FG_WAITING_ROOM_WAITING) {
        add_number(text, FG_SPAN("position"), place->position);
        if (place->position_error > 0)
            add_number(text, FG_SPAN("position_error"), place->position_error);
        if (place->eta_ns != UINT64_MAX) {
            add_number(text, FG_SPAN("eta_ms"), place->eta_ns / FG_MS);
            add_number(text, FG_SPAN("eta_error_ms"), place->eta_error_ns / FG_MS);
        }
    }
    if (visit->retry_after_ns > 0)
        add_number(text, FG_SPAN("retry_after_ms"), visit->retry_after_ns / FG_MS);
    if (visit->paper.data != NULL) {
        fg_text_add(text, FG_SPAN(",\"ticket\":\""));
        fg_text_add(text, visit->paper);
        fg_text_add(text, FG_SPAN("\""));
    }
    if (visit->fate != FG_ROOM_FATE_NONE) {
        fg_text_add(text, FG_SPAN(",\"ticket_was\":\""));
        fg_text_add(text, fg_span_from_string(fg_room_fate_name(visit->fate)));
        fg_text_add(text, FG_SPAN("\""));
    }
    fg_text_add(text, FG_SPAN("}"));
}
