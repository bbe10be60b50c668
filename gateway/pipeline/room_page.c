/*
 * room_page.c: the page of who waits in a browser.
 * Job      place, estimate and its error, without a script; with one, and a desk for the room
 *          (room_desk.h), they move by themselves and the page goes on when the turn comes.
 * Thread   the request's loop.
 * Never    loads anything: one answer of a few KiB, so that it still comes when nothing else does.
 */
#include "room_client.h"

#include <inttypes.h>

#define HOUR_S 3600
#define TEXT_BYTES 96

/* A path has no quote (the configuration refuses it), but may have an ampersand. */
static struct fg_span escape(struct fg_arena *arena, const char *path)
{
    char buffer[1024];
    struct fg_text text = fg_text_over(buffer, sizeof(buffer));
    for (const char *c = path; *c != '\0'; c++)
        fg_text_add(&text, *c == '&' ? FG_SPAN("&amp;") : fg_span_make(c, 1));
    return text.is_cut ? (struct fg_span){NULL, 0} : fg_arena_try_copy(arena, fg_text_span(&text));
}

/* Where the place in the room of this flow's route can be asked for; NULL: nowhere. */
static const char *desk_path(const struct fg_flow *flow)
{
    const struct fg_config *config = flow->thread->pipeline->config;
    for (size_t i = 0; i < config->route_count; i++) {
        const struct fg_route_conf *route = &config->routes[i];
        if (route->action == FG_ROUTE_ROOM && route->room_index == fg_flow_route_index(flow))
            return route->path; /* NULL for a prefix: no one place */
    }
    return NULL;
}

static void add_number(struct fg_text *text, uint64_t value, const char *unit)
{
    fg_text_add_u64(text, value);
    fg_text_add(text, FG_SPAN(" "));
    fg_text_add(text, fg_span_from_string(unit));
}

/* "12 seconds", "3 minutes", "2 hours": as fine as somebody who waits wants to know. */
static void add_time(struct fg_text *text, uint64_t ns)
{
    uint64_t s = (ns + FG_S - 1) / FG_S;
    if (s < 100)
        add_number(text, s, s == 1 ? "second" : "seconds");
    else if (s < 100 * 60)
        add_number(text, (s + 30) / 60, "minutes");
    else
        add_number(text, (s + HOUR_S / 2) / HOUR_S, "hours");
}

static struct fg_span wait_text(const struct fg_waiting_room_place *place, char buffer[TEXT_BYTES])
{
    struct fg_text text = fg_text_over(buffer, TEXT_BYTES);
    if (place->eta_ns == UINT64_MAX) {
        fg_text_add(&text, FG_SPAN("not known yet"));
        return fg_text_span(&text);
    }
    fg_text_add(&text, FG_SPAN("about "));
    add_time(&text, place->eta_ns);
    if (place->eta_error_ns >= FG_S) {
        fg_text_add(&text, FG_SPAN(", give or take "));
        add_time(&text, place->eta_error_ns);
    }
    return fg_text_span(&text);
}

static struct fg_span position_text(const struct fg_waiting_room_place *place,
                                    char buffer[TEXT_BYTES])
{
    struct fg_text text = fg_text_over(buffer, TEXT_BYTES);
    if (place->position_error > 0)
        fg_text_add(&text, FG_SPAN("about "));
    fg_text_add_u64(&text, place->position);
    return fg_text_span(&text);
}

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"robots\" content=\"noindex\">\n"
    "<title>You are in line</title>\n"
    "<style>\n"
    ":root { color-scheme: light dark; }\n"
    "body { font: 1.1rem/1.5 system-ui, sans-serif; margin: 0; min-height: 100vh; display: grid;"
    " place-items: center; }\n"
    "main { max-width: 32rem; padding: 2rem; }\n"
    "h1 { margin: 0 0 1rem; }\n"
    "dl { display: grid; grid-template-columns: auto 1fr; gap: .3rem 1rem; margin: 0 0 1rem; }\n"
    "dd { margin: 0; font-weight: 600; }\n"
    "p { margin: 0 0 1rem; }\n"
    "button { font: inherit; padding: .5rem 1rem; }\n"
    "</style>\n";

static const char script[] =
    "<script>\n"
    "const desk = document.body.dataset.desk, retryMs = Number(document.body.dataset.retryMs);\n"
    "const show = (id, text) => { document.getElementById(id).textContent = text; };\n"
    "const span = (ms) => { const s = Math.ceil(ms / 1000);\n"
    "  return s < 100 ? `${s} second${s === 1 ? \"\" : \"s\"}` : s < 6000 ? `${Math.round(s / 60)} "
    "minutes`"
    " : `${Math.round(s / 3600)} hours`; };\n"
    "const again = () => setTimeout(() => location.reload(), retryMs);\n"
    "const source = new EventSource(desk);\n"
    "source.addEventListener(\"place\", (event) => {\n"
    "  const is = JSON.parse(event.data);\n"
    "  show(\"position\", (is.position_error ? \"about \" : \"\") + is.position);\n"
    "  if (is.eta_ms !== undefined)\n"
    "    show(\"wait\", `about ${span(is.eta_ms)}`"
    " + (is.eta_error_ms >= 1000 ? `, give or take ${span(is.eta_error_ms)}` : \"\"));\n"
    "  document.title = `${is.position} ahead of you`;\n"
    "});\n"
    "const go = () => { source.close(); location.reload(); };\n"
    "source.addEventListener(\"turn\", go);\n"
    "source.addEventListener(\"lost\", go);\n"
    "source.onerror = () => { if (source.readyState === EventSource.CLOSED) again(); };\n"
    "document.getElementById(\"leave\").hidden = false;\n"
    "document.getElementById(\"leave\").addEventListener(\"click\", async () => {\n"
    "  source.close();\n"
    "  await fetch(desk, { method: \"DELETE\" });\n"
    "  document.querySelector(\"main\").innerHTML ="
    " \"<h1>You have left the line</h1><p>Your place went to somebody else.</p>\";\n"
    "});\n"
    "</script>\n";

static const char full_text[] =
    "<h1>The line is full</h1>\n<p>So many people wait that nobody more can join. This page asks"
    " again by itself.</p>\n";

static struct fg_span body_text(struct fg_arena *arena, const struct fg_room_visit *visit)
{
    char position[TEXT_BYTES], wait[TEXT_BYTES];
    if (visit->place.status == FG_WAITING_ROOM_FULL)
        return FG_SPAN(full_text);
    struct fg_span ahead = position_text(&visit->place, position);
    struct fg_span time = wait_text(&visit->place, wait);
    return fg_arena_try_printf(
        arena,
        "<h1>You are in line</h1>\n"
        "<p>More people came at once than can be served at once. Your place is kept, and this page"
        " goes on by itself when your turn comes.</p>\n"
        "<dl aria-live=\"polite\"><dt>Ahead of you</dt><dd id=\"position\">%.*s</dd>"
        "<dt>Your turn</dt><dd id=\"wait\">%.*s</dd></dl>\n"
        "<button id=\"leave\" hidden>Leave the line</button>\n",
        FG_SPAN_ARGS(ahead), FG_SPAN_ARGS(time));
}

struct fg_span fg_room_page(const struct fg_flow *flow, const struct fg_room_visit *visit)
{
    struct fg_arena *arena = flow->req->ex.arena;
    const char *path = visit->place.status == FG_WAITING_ROOM_WAITING ? desk_path(flow) : NULL;
    struct fg_span desk = path == NULL ? FG_SPAN("") : escape(arena, path);
    bool has_desk = desk.len > 0; /* else, or without a script, the page loads itself anew */
    uint64_t retry_s = visit->retry_after_ns / FG_S + 1;
    struct fg_span body = body_text(arena, visit);
    if (body.data == NULL)
        return body;
    return fg_arena_try_printf(arena,
                               "%s%s<meta http-equiv=\"refresh\" content=\"%" PRIu64 "\">%s\n"
                               "</head>\n<body data-desk=\"%.*s\" data-retry-ms=\"%" PRIu64
                               "\">\n<main>\n%.*s</main>\n%s</body>\n</html>\n",
                               head, has_desk ? "<noscript>" : "", retry_s,
                               has_desk ? "</noscript>" : "", FG_SPAN_ARGS(desk), retry_s * 1000,
                               FG_SPAN_ARGS(body), has_desk ? script : "");
}
