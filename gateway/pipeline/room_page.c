/*
 * room_page.c: the page of who waits in a browser.
 * Job      place, estimate and its error, in English or Chinese, without a script; with one, and a
 *          desk for the room (room_desk.h), they move by themselves and the page goes on when the
 *          turn comes.
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

/* ---- languages ---- */

struct words {
    const char *language;
    const char *title, *waiting, *lead, *ahead, *turn, *leave;
    const char *about, *give_or_take, *not_known;
    const char *units[4]; /* second, seconds, minutes, hours; behind the number */
    const char *full, *full_lead;
    const char *left, *left_lead, *ahead_of_you;
};

static const struct words english = {
    .language = "en",
    .title = "You are in line",
    .waiting = "You are in line",
    .lead =
        "More people came at once than can be served at once. Your place is kept, and this page "
        "goes on by itself when your turn comes.",
    .ahead = "Ahead of you",
    .turn = "Your turn",
    .leave = "Leave the line",
    .about = "about ",
    .give_or_take = ", give or take ",
    .not_known = "not known yet",
    .units = {" second", " seconds", " minutes", " hours"},
    .full = "The line is full",
    .full_lead = "So many people wait that nobody more can join. This page asks again by itself.",
    .left = "You have left the line",
    .left_lead = "Your place went to somebody else.",
    .ahead_of_you = " ahead of you",
};

static const struct words chinese = {
    .language = "zh-CN",
    .title = "正在排队",
    .waiting = "正在排队",
    .lead = "同时到来的人太多，一时接待不过来。你的位置会一直保留，轮到你时本页面会自动继续。",
    .ahead = "前面人数",
    .turn = "轮到你",
    .leave = "退出排队",
    .about = "约 ",
    .give_or_take = "，误差 ",
    .not_known = "暂时无法预计",
    .units = {" 秒", " 秒", " 分钟", " 小时"},
    .full = "队伍已满",
    .full_lead = "排队的人太多，暂时无法加入。本页面会自动重试。",
    .left = "你已退出排队",
    .left_lead = "你的位置已让给别人。",
    .ahead_of_you = " 人在你前面",
};

/* "0.8" in permille; without it 1000. What is no weight counts as 0 (RFC 9110 section 12.4.2). */
static unsigned weight_of(struct fg_span parameters)
{
    struct fg_span text = fg_span_trim(parameters);
    if (text.data == NULL || text.len == 0)
        return 1000;
    if (text.len < 3 || (text.data[0] != 'q' && text.data[0] != 'Q') || text.data[1] != '=')
        return 0;
    if (text.data[2] == '1')
        return 1000;
    unsigned weight = 0, place = 100;
    for (size_t i = 4; i < text.len && place > 0; i++, place /= 10) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return 0;
        weight += (unsigned)(text.data[i] - '0') * place;
    }
    return weight;
}

static bool is_language(struct fg_span range, const char *language)
{
    return range.len >= 2 && (range.data[0] | 0x20) == language[0] &&
           (range.data[1] | 0x20) == language[1] && (range.len == 2 || range.data[2] == '-');
}

/* Chinese where it is wanted more than English; who wants neither, or says nothing, gets that. */
static const struct words *words_for(const struct fg_exchange *ex)
{
    struct fg_span rest = fg_exchange_field(ex, FG_SPAN("accept-language"));
    unsigned chinese_weight = 0, english_weight = 0;
    while (rest.data != NULL) {
        struct fg_span parameters = fg_span_split(&rest, ',');
        struct fg_span range = fg_span_trim(fg_span_split(&parameters, ';'));
        unsigned weight = weight_of(parameters);
        if (is_language(range, "zh") && weight > chinese_weight)
            chinese_weight = weight;
        if (is_language(range, "en") && weight > english_weight)
            english_weight = weight;
    }
    return chinese_weight > english_weight ? &chinese : &english;
}

/* ---- numbers ---- */

static void add_words(struct fg_text *text, const char *words)
{
    fg_text_add(text, fg_span_from_string(words));
}

/* "12 seconds", "3 minutes", "2 hours": as fine as somebody who waits wants to know. */
static void add_time(struct fg_text *text, const struct words *words, uint64_t ns)
{
    uint64_t s = (ns + FG_S - 1) / FG_S;
    bool is_short = s < 100, is_long = s >= 100 * 60;
    fg_text_add_u64(text, is_short ? s : is_long ? (s + HOUR_S / 2) / HOUR_S : (s + 30) / 60);
    add_words(text, words->units[is_short ? s != 1 : is_long ? 3 : 2]);
}

static struct fg_span wait_text(const struct words *words,
                                const struct fg_waiting_room_place *place, char buffer[TEXT_BYTES])
{
    struct fg_text text = fg_text_over(buffer, TEXT_BYTES);
    if (place->eta_ns == UINT64_MAX) {
        add_words(&text, words->not_known);
        return fg_text_span(&text);
    }
    add_words(&text, words->about);
    add_time(&text, words, place->eta_ns);
    if (place->eta_error_ns >= FG_S) {
        add_words(&text, words->give_or_take);
        add_time(&text, words, place->eta_error_ns);
    }
    return fg_text_span(&text);
}

static struct fg_span position_text(const struct words *words,
                                    const struct fg_waiting_room_place *place,
                                    char buffer[TEXT_BYTES])
{
    struct fg_text text = fg_text_over(buffer, TEXT_BYTES);
    if (place->position_error > 0)
        add_words(&text, words->about);
    fg_text_add_u64(&text, place->position);
    return fg_text_span(&text);
}

/* ---- the page ---- */

static const char head[] =
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"robots\" content=\"noindex\">\n"
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

/* Behind a line that sets `words`. */
static const char script[] =
    "const desk = document.body.dataset.desk, retryMs = Number(document.body.dataset.retryMs);\n"
    "const show = (id, text) => { document.getElementById(id).textContent = text; };\n"
    "const span = (ms) => { const s = Math.ceil(ms / 1000);\n"
    "  return s < 100 ? s + words.units[s === 1 ? 0 : 1]"
    " : s < 6000 ? Math.round(s / 60) + words.units[2] : Math.round(s / 3600) + words.units[3]; "
    "};\n"
    "const again = () => setTimeout(() => location.reload(), retryMs);\n"
    "const source = new EventSource(desk);\n"
    "source.addEventListener(\"place\", (event) => {\n"
    "  const is = JSON.parse(event.data);\n"
    "  show(\"position\", (is.position_error ? words.about : \"\") + is.position);\n"
    "  if (is.eta_ms !== undefined)\n"
    "    show(\"wait\", words.about + span(is.eta_ms)"
    " + (is.eta_error_ms >= 1000 ? words.giveOrTake + span(is.eta_error_ms) : \"\"));\n"
    "  document.title = is.position + words.aheadOfYou;\n"
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
    " `<h1>${words.left}</h1><p>${words.leftLead}</p>`;\n"
    "});\n"
    "</script>\n";

static struct fg_span body_text(struct fg_arena *arena, const struct words *words,
                                const struct fg_room_visit *visit)
{
    char position[TEXT_BYTES], wait[TEXT_BYTES];
    if (visit->place.status == FG_WAITING_ROOM_FULL)
        return fg_arena_try_printf(arena, "<h1>%s</h1>\n<p>%s</p>\n", words->full,
                                   words->full_lead);
    struct fg_span ahead = position_text(words, &visit->place, position);
    struct fg_span time = wait_text(words, &visit->place, wait);
    return fg_arena_try_printf(arena,
                               "<h1>%s</h1>\n<p>%s</p>\n"
                               "<dl aria-live=\"polite\"><dt>%s</dt><dd id=\"position\">%.*s</dd>"
                               "<dt>%s</dt><dd id=\"wait\">%.*s</dd></dl>\n"
                               "<button id=\"leave\" hidden>%s</button>\n",
                               words->waiting, words->lead, words->ahead, FG_SPAN_ARGS(ahead),
                               words->turn, FG_SPAN_ARGS(time), words->leave);
}

static struct fg_span script_text(struct fg_arena *arena, const struct words *words)
{
    return fg_arena_try_printf(
        arena,
        "<script>\nconst words = { units: [\"%s\", \"%s\", \"%s\", \"%s\"], about: \"%s\","
        " giveOrTake: \"%s\", aheadOfYou: \"%s\", left: \"%s\", leftLead: \"%s\" };\n%s",
        words->units[0], words->units[1], words->units[2], words->units[3], words->about,
        words->give_or_take, words->ahead_of_you, words->left, words->left_lead, script);
}

struct fg_span fg_room_page(const struct fg_flow *flow, const struct fg_room_visit *visit)
{
    struct fg_arena *arena = flow->req->ex.arena;
    const struct words *words = words_for(&flow->req->ex);
    const char *path = visit->place.status == FG_WAITING_ROOM_WAITING ? desk_path(flow) : NULL;
    struct fg_span desk = path == NULL ? FG_SPAN("") : escape(arena, path);
    bool has_desk = desk.len > 0; /* else, or without a script, the page loads itself anew */
    uint64_t retry_s = visit->retry_after_ns / FG_S + 1;
    struct fg_span body = body_text(arena, words, visit);
    struct fg_span moving = has_desk ? script_text(arena, words) : FG_SPAN("");
    if (body.data == NULL || moving.data == NULL)
        return (struct fg_span){NULL, 0};
    return fg_arena_try_printf(arena,
                               "<!doctype html>\n<html lang=\"%s\">\n<head>\n%s<title>%s</title>\n"
                               "%s<meta http-equiv=\"refresh\" content=\"%" PRIu64 "\">%s\n"
                               "</head>\n<body data-desk=\"%.*s\" data-retry-ms=\"%" PRIu64
                               "\">\n<main>\n%.*s</main>\n%.*s</body>\n</html>\n",
                               words->language, head, words->title, has_desk ? "<noscript>" : "",
                               retry_s, has_desk ? "</noscript>" : "", FG_SPAN_ARGS(desk),
                               retry_s * 1000, FG_SPAN_ARGS(body), FG_SPAN_ARGS(moving));
}
