/*
 * fake_transport.c: see fake_transport.h.
 */
#include "fake_transport.h"

#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct script {
    struct fake *fake;
    uint64_t left;
    size_t held;
    size_t unconsumed;
    bool is_blocked;
    bool is_echo;
    bool is_holding;
};

static char pattern[16384];

struct fg_limits_conf fake_limits(void)
{
    return (struct fg_limits_conf){
        .connections_max = 100,
        .connections_per_ip_max = 100,
        .header_bytes_max = 4096,
        .header_count_max = 32,
        .uri_bytes_max = 1024,
        .body_bytes_max = 1 << 20,
        .h2_overhead_burst = 1000,
        .h2_overhead_per_s = 100,
        .streams_per_connection_max = 16,
        .request_memory_max = 65536,
        .connection_buffer_bytes = 32768,
        .handshake_timeout_ns = FG_S,
        .header_timeout_ns = FG_S,
        .body_timeout_ns = FG_S,
        .write_timeout_ns = FG_S,
        .idle_timeout_ns = FG_S,
    };
}

static struct fake *fake_of(struct fg_transport *transport)
{
    return FG_CONTAINER_OF(transport, struct fake, transport);
}

static void on_wake(struct fg_transport *transport)
{
    (void)transport;
}

static void on_resume_input(struct fg_transport *transport)
{
    fake_of(transport)->wants_resume = true;
}

static void on_arm(struct fg_transport *transport, enum fg_timeout_class class)
{
    fake_of(transport)->is_armed = true;
    fake_of(transport)->armed = class;
}

static void on_disarm(struct fg_transport *transport)
{
    fake_of(transport)->is_armed = false;
}

static void on_close(struct fg_transport *transport, enum fg_close_mode mode)
{
    struct fake *fake = fake_of(transport);
    if (!fake->is_closing || mode > fake->close_mode)
        fake->close_mode = mode;
    fake->is_closing = true;
}

static uint64_t on_stalled_since(const struct fg_transport *transport)
{
    return ((const struct fake *)transport)->stalled_since_ns; /* its first member */
}

static bool on_is_spared(struct fg_transport *transport)
{
    return fake_of(transport)->is_spared;
}

static const struct fg_transport_ops transport_ops = {
    .wake = on_wake,
    .resume_input = on_resume_input,
    .arm = on_arm,
    .disarm = on_disarm,
    .close = on_close,
    .stalled_since = on_stalled_since,
    .is_spared = on_is_spared,
};

static void write_head(struct fg_request *req, unsigned status, int64_t length, bool is_end)
{
    struct fg_span text = {NULL, 0};
    if (length >= 0)
        text = fg_arena_try_printf(req->ex.arena, "%lld", (long long)length);
    const struct fg_field fields[] = {
        {FG_SPAN("content-type"), FG_SPAN("text/plain")},
        {FG_SPAN("content-length"), text},
    };
    fg_response_head(req, status, fields, text.data != NULL ? 2 : 1, is_end);
}

static void answer_text(struct fg_request *req, const char *text)
{
    write_head(req, 200, (int64_t)strlen(text), false);
    fg_response_write(req, text, strlen(text));
    fg_response_end(req);
}

/* Its fields are in the arena, and it says so. */
static void answer_lasting(struct fg_request *req)
{
    const struct fg_field fields[] = {
        {fg_arena_try_copy(req->ex.arena, FG_SPAN("x-lasting")),
         fg_arena_try_copy(req->ex.arena, FG_SPAN("from the arena"))},
        {FG_SPAN("x-request-id"), req->ex.request_id},
    };
    req->has_lasting_fields = true;
    fg_response_head(req, 200, fields, sizeof(fields) / sizeof(fields[0]), true);
}

/* A head of more bytes than this, all of them one letter. */
static void answer_wide(struct fg_request *req, size_t len)
{
    static char wide[8192];
    assert(len <= sizeof(wide));
    memset(wide, 'w', sizeof(wide));
    const struct fg_field fields[] = {{FG_SPAN("content-type"), FG_SPAN("text/plain")},
                                      {FG_SPAN("x-wide"), fg_span_make(wide, len)}};
    fg_response_head(req, 200, fields, 2, false);
    fg_response_write(req, "wide", 4);
    fg_response_end(req);
}

static void pump(struct fg_request *req, struct script *script)
{
    while (script->left > 0 && !script->is_blocked) {
        size_t len = script->left < sizeof(pattern) ? (size_t)script->left : sizeof(pattern);
        script->left -= len;
        script->is_blocked = !fg_response_write(req, pattern, len);
    }
    if (script->left == 0)
        fg_response_end(req);
}

static void note_head(struct fake *fake, const struct fg_request *req)
{
    const struct fg_exchange *ex = &req->ex;
    int at =
        snprintf(fake->heard, sizeof(fake->heard), "%.*s %.*s %.*s", FG_SPAN_ARGS(ex->method_text),
                 FG_SPAN_ARGS(ex->authority), FG_SPAN_ARGS(ex->path));
    if (ex->query.data != NULL)
        at += snprintf(fake->heard + at, sizeof(fake->heard) - (size_t)at, " ?%.*s",
                       FG_SPAN_ARGS(ex->query));
    for (size_t i = 0; i <= ex->field_count && (size_t)at < sizeof(fake->heard); i++) {
        if (i == ex->field_count)
            at += snprintf(fake->heard + at, sizeof(fake->heard) - (size_t)at, "\n");
        else
            at += snprintf(fake->heard + at, sizeof(fake->heard) - (size_t)at, "\n%.*s: %.*s",
                           FG_SPAN_ARGS(ex->fields[i].name), FG_SPAN_ARGS(ex->fields[i].value));
    }
}

static bool is_path(const struct fg_request *req, const char *path)
{
    return fg_span_equal(req->ex.path, fg_span_from_string(path));
}

static const struct fg_field no_length[] = {
    {FG_SPAN_LITERAL("content-length"), FG_SPAN_LITERAL("0")}}; /* must not go out */
static const struct fg_field hints[] = {{FG_SPAN_LITERAL("link"), FG_SPAN_LITERAL("</a>")}};
static const struct fg_field trailers[] = {
    {FG_SPAN_LITERAL("x-sum"), FG_SPAN_LITERAL("abc")},
    {FG_SPAN_LITERAL("content-length"), FG_SPAN_LITERAL("9")}, /* must not go out */
};

static void start_script(struct fg_request *req, struct script *script)
{
    if (is_path(req, "/")) {
        answer_text(req, "hello");
    } else if (is_path(req, "/chunks")) {
        write_head(req, 200, -1, false);
        fg_response_write(req, "hello ", 6);
        fg_response_write(req, "world", 5);
        fg_response_end(req);
    } else if (is_path(req, "/lasting")) {
        answer_lasting(req);
    } else if (is_path(req, "/wide")) {
        answer_wide(req, 1500);
    } else if (is_path(req, "/wider")) {
        answer_wide(req, 8192);
    } else if (is_path(req, "/none")) {
        fg_response_head(req, 204, no_length, 1, true);
    } else if (is_path(req, "/bytes")) {
        script->left = 300000;
        write_head(req, 200, 300000, false);
        pump(req, script);
    } else if (is_path(req, "/echo")) {
        script->is_echo = true;
        write_head(req, 200, -1, false);
        if (!req->ex.has_body)
            fg_response_end(req);
    } else if (is_path(req, "/behind")) {
        fg_response_interim(req, 103, hints, 1);
        write_head(req, 200, -1, false);
        fg_response_write(req, "hello", 5);
        fg_response_trailers(req, trailers, 2);
        fg_response_end(req);
    } else if (is_path(req, "/ws") && req->ex.upgrade.data != NULL) {
        script->is_echo = true;
        fg_response_head(req, 101, hints, 1, false);
        fg_response_write(req, "hello ", 6);
    } else if (is_path(req, "/hold")) {
        script->is_holding = true;
    } else if (is_path(req, "/short") || is_path(req, "/abort-late")) {
        write_head(req, 200, 10, false);
        fg_response_write(req, "hello", 5);
        if (is_path(req, "/short"))
            fg_response_end(req);
        else
            fg_response_abort(req);
    } else if (is_path(req, "/no-memory")) {
        fg_response_out_of_memory(req);
    } else if (is_path(req, "/abort")) {
        fg_response_abort(req);
    } else if (is_path(req, "/small") || is_path(req, "/read")) {
        if (is_path(req, "/small"))
            req->ex.body_bytes_max = 10;
        if (!req->ex.has_body)
            answer_text(req, "0");
    } else if (!is_path(req, "/wait")) {
        write_head(req, 404, 0, true);
    }
}

static void on_request(void *ctx, struct fg_request *req)
{
    struct fake *fake = ctx;
    fake->requests++;
    fake->last = req;
    fake->body_bytes = 0;
    note_head(fake, req);
    assert(req->ex.request_id.len > 0 && req->ex.path.len > 0);
    struct script *script = fg_arena_try_zalloc(req->ex.arena, sizeof(*script));
    if (script == NULL) {
        fg_response_abort(req);
        return;
    }
    script->fake = fake;
    req->handler_state = script;
    start_script(req, script);
}

static void on_body(struct fg_request *req, const void *data, size_t len, bool is_last)
{
    struct script *script = req->handler_state;
    struct fake *fake = script->fake;
    fake->body_bytes += len;
    fake->pieces++;
    fake->lasts += is_last;
    script->unconsumed += len;
    if (script->unconsumed > fake->held_max)
        fake->held_max = script->unconsumed;
    assert(script->unconsumed <= 65536);
    if (script->is_holding)
        return;
    if (script->is_echo) {
        if (fg_response_write(req, data, len)) {
            fg_request_consumed(req, len);
            script->unconsumed -= len;
        } else {
            script->held += len;
        }
        if (is_last) {
            if (req->ex.trailer_count > 0)
                fg_response_trailers(req, req->ex.trailers, req->ex.trailer_count);
            fg_response_end(req);
        }
        return;
    }
    fg_request_consumed(req, len);
    script->unconsumed -= len;
    if (is_last && (is_path(req, "/read") || is_path(req, "/small"))) {
        char text[32];
        snprintf(text, sizeof(text), "%zu", fake->body_bytes);
        answer_text(req, text);
    }
}

static void on_writable(struct fg_request *req)
{
    struct script *script = req->handler_state;
    script->fake->writables++;
    script->is_blocked = false;
    if (!script->is_echo) {
        pump(req, script);
        return;
    }
    size_t held = script->held;
    script->held = 0;
    script->unconsumed -= held;
    fg_request_consumed(req, held);
}

static void on_gone(struct fg_request *req, enum fg_gone_reason reason)
{
    struct script *script = req->handler_state;
    script->fake->gones++;
    script->fake->gone_reason = reason;
}

static void on_done(struct fg_request *req)
{
    struct fake *fake = req->handler_ctx;
    fake->dones++;
    fake->aborted += req->was_aborted;
    if (fake->last == req)
        fake->last = NULL;
}

static void on_codec_answer(void *handler, struct fg_request *req, unsigned status,
                            const char *code)
{
    struct fake *fake = handler;
    fake->codec_answers++;
    fake->codec_status = status;
    fake->codec_code = code;
    fake->codec_id_len = req->ex.request_id.len;
    snprintf(fake->codec_path, sizeof(fake->codec_path), "%.*s", FG_SPAN_ARGS(req->ex.path));
}

const struct fg_request_handler fake_handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_writable = on_writable,
    .on_gone = on_gone,
    .on_done = on_done,
    .on_codec_answer = on_codec_answer,
};

void fake_open(struct fake *fake, bool is_h2, const struct fg_limits_conf *limits)
{
    *fake = (struct fake){.limits = limits != NULL ? *limits : fake_limits()};
    memset(pattern, 'x', sizeof(pattern));
    fake->loop = fg_loop_create(0, 4096);
    assert(fake->loop != NULL);
    enum fg_status status = fg_codec_env_init(&fake->env, fake->loop, &fake->limits, &fake->stats);
    assert(status == FG_OK);
    fake->transport = (struct fg_transport){
        .ops = &transport_ops,
        .env = &fake->env,
        .handler = &fake_handler,
        .handler_ctx = fake,
        .client_addr = FG_SPAN_LITERAL("192.0.2.1"),
    };
    fake->codec = is_h2 ? fg_h2_create(&fake->transport) : fg_h1_create(&fake->transport);
    assert(fake->codec != NULL);
}

static void cut(struct fake *fake, enum fg_gone_reason reason)
{
    if (fake->is_cut)
        return;
    fake->is_cut = true;
    fake->codec->ops->on_cut(fake->codec, reason);
}

void fake_close(struct fake *fake)
{
    cut(fake, FG_GONE_CLIENT_CLOSED);
    fake->codec->ops->destroy(fake->codec);
    assert(fake->requests == fake->dones);
    assert(fake->env.stream_count == 0);
    fg_codec_env_fini(&fake->env);
    fg_loop_destroy(fake->loop);
    free(fake->out);
    free(fake->held);
}

static void append_out(struct fake *fake, const char *data, size_t len)
{
    if (fake->out_room - fake->out_len < len + 1) {
        fake->out_room = (fake->out_len + len + 1) * 2;
        fake->out = realloc(fake->out, fake->out_room);
        assert(fake->out != NULL);
    }
    memcpy(fake->out + fake->out_len, data, len);
    fake->out_len += len;
    fake->out[fake->out_len] = '\0';
}

/* True when something happened. */
static bool flush(struct fake *fake)
{
    char room[4096];
    bool has_moved = false;
    size_t len;
    if (fake->is_stuck || fake->is_cut)
        return false;
    while ((len = fake->codec->ops->produce(fake->codec, room, sizeof(room))) > 0) {
        append_out(fake, room, len);
        has_moved = true;
    }
    fake->codec->ops->flushed(fake->codec);
    return has_moved;
}

/* Others have had their turn when it gave way. */
static bool feed_held(struct fake *fake)
{
    bool is_next = fake->wants_resume || fg_transport_gives_way(&fake->transport);
    if (!is_next || fake->held_len == 0 || fake->is_cut)
        return false;
    fake->wants_resume = false;
    fake->transport.begun = 0;
    size_t taken = fake->codec->ops->input(fake->codec, fake->held, fake->held_len);
    assert(taken <= fake->held_len);
    memmove(fake->held, fake->held + taken, fake->held_len - taken);
    fake->held_len -= taken;
    return taken > 0;
}

void fake_turn(struct fake *fake)
{
    bool has_moved = true;
    while (has_moved) {
        has_moved = feed_held(fake);
        has_moved = flush(fake) || has_moved;
    }
    if (fake->is_closing)
        cut(fake, FG_GONE_CLIENT_CLOSED);
}

void fake_feed(struct fake *fake, const void *data, size_t len)
{
    if (fake->is_cut)
        return;
    size_t taken = 0;
    if (fake->held_len == 0 && len > 0) {
        /* A copy of just this size, so that reading past it is found. */
        char *copy = malloc(len);
        assert(copy != NULL);
        memcpy(copy, data, len);
        fake->transport.begun = 0;
        taken = fake->codec->ops->input(fake->codec, copy, len);
        assert(taken <= len);
        free(copy);
    }
    if (taken < len) {
        fake->held = realloc(fake->held, fake->held_len + len - taken);
        assert(fake->held != NULL);
        memcpy(fake->held + fake->held_len, (const char *)data + taken, len - taken);
        fake->held_len += len - taken;
    }
    fake_turn(fake);
}

void fake_feed_text(struct fake *fake, const char *text)
{
    fake_feed(fake, text, strlen(text));
}

void fake_eof(struct fake *fake, bool may_listen)
{
    if (!fake->is_cut)
        fake->codec->ops->on_eof(fake->codec, may_listen);
    fake_turn(fake);
}

void fake_forget_output(struct fake *fake)
{
    fake->out_len = 0;
}

bool fake_said(const struct fake *fake, const char *text)
{
    return fake->out_len > 0 && memmem(fake->out, fake->out_len, text, strlen(text)) != NULL;
}

bool fake_heard(const struct fake *fake, const char *text)
{
    return strstr(fake->heard, text) != NULL;
}

unsigned fake_status(const struct fake *fake)
{
    if (fake->out_len < 12 || memcmp(fake->out, "HTTP/1.1 ", 9) != 0)
        return 0;
    return (unsigned)strtoul(fake->out + 9, NULL, 10);
}

void fake_answer(struct fake *fake)
{
    assert(fake->last != NULL);
    answer_text(fake->last, "done");
    fake_turn(fake);
}

void fake_consume(struct fake *fake, size_t len)
{
    struct script *script = fake->last->handler_state;
    script->unconsumed -= len;
    fg_request_consumed(fake->last, len);
    fake_turn(fake);
}
