/*
 * fake_exchange.c: every call is checked against the order that backends/backend.h promises.
 */
#include "fake_exchange.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

static struct fake_exchange *open_one(struct fg_exchange *ex)
{
    struct fake_exchange *fake = (struct fake_exchange *)ex;
    assert_int_equal(fake->end, FAKE_OPEN);
    return fake;
}

static void copy_span(char *to, size_t room, struct fg_span from)
{
    assert_true(from.len < room);
    memcpy(to, from.data, from.len);
    to[from.len] = '\0';
}

static void head(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                 size_t field_count)
{
    struct fake_exchange *fake = open_one(ex);
    assert_int_equal(fake->status, 0);
    fake->status = status;
    for (size_t i = 0; i < field_count; i++) {
        if (fg_span_equal(fields[i].name, FG_SPAN("content-type")))
            copy_span(fake->content_type, sizeof(fake->content_type), fields[i].value);
        if (fg_span_equal(fields[i].name, FG_SPAN("content-length")))
            copy_span(fake->content_length, sizeof(fake->content_length), fields[i].value);
    }
}

static bool write_body(struct fg_exchange *ex, const void *data, size_t len)
{
    struct fake_exchange *fake = open_one(ex);
    assert_true(fake->status != 0 && len > 0);
    assert_true(fake->body_len + len < sizeof(fake->body));
    memcpy(fake->body + fake->body_len, data, len);
    fake->body_len += len;
    fake->body[fake->body_len] = '\0';
    fake->write_count++;
    return !fake->is_blocking;
}

static void end(struct fg_exchange *ex)
{
    struct fake_exchange *fake = open_one(ex);
    assert_true(fake->status != 0);
    fake->end = FAKE_ENDED;
}

static void refuse(struct fg_exchange *ex, const struct fg_backend_refusal *refusal)
{
    struct fake_exchange *fake = open_one(ex);
    assert_int_equal(fake->status, 0);
    fake->status = refusal->status;
    fake->retry_after_ms = refusal->retry_after_ms;
    snprintf(fake->allow, sizeof(fake->allow), "%.*s", FG_SPAN_ARGS(refusal->allow));
    fake->value = refusal->value;
    fake->limit = refusal->limit;
    snprintf(fake->type, sizeof(fake->type), "%s", refusal->type);
    snprintf(fake->code, sizeof(fake->code), "%s", refusal->code);
    snprintf(fake->message, sizeof(fake->message), "%s", refusal->message);
    fake->end = FAKE_REFUSED;
}

static void fail_exchange(struct fg_exchange *ex, enum fg_failure failure, const char *detail)
{
    struct fake_exchange *fake = open_one(ex);
    fake->failure = failure;
    snprintf(fake->message, sizeof(fake->message), "%s", detail);
    fake->end = FAKE_FAILED;
}

static void hop_time(struct fg_exchange *ex, const char *hop, uint64_t duration_ns)
{
    struct fake_exchange *fake = open_one(ex);
    size_t used = strlen(fake->hops);
    (void)duration_ns;
    assert_int_equal(fake->status, 0); /* before head */
    snprintf(fake->hops + used, sizeof(fake->hops) - used, "%s,", hop);
}

static void release_slot(struct fg_exchange *ex)
{
    (void)open_one(ex);
    fail_msg("a generation holds its slot to the end");
}

static const struct fg_exchange_ops fake_ops = {
    .head = head,
    .write = write_body,
    .end = end,
    .refuse = refuse,
    .fail = fail_exchange,
    .hop_time = hop_time,
    .release_slot = release_slot,
};

void fake_exchange_init(struct fake_exchange *fake, const char *path, size_t arena_bytes_max)
{
    memset(fake, 0, sizeof(*fake));
    fg_arena_pool_init(&fake->pool, 1024);
    fg_arena_init(&fake->arena, &fake->pool, arena_bytes_max);
    fake->ex.request_id = FG_SPAN("req-1");
    fake->ex.user_id = FG_SPAN("user-1");
    fake->ex.method = FG_METHOD_POST;
    fake->ex.method_text = FG_SPAN("POST");
    fake->ex.path = fg_span_from_string(path);
    fake->ex.content_length = -1;
    fake->ex.has_body = true;
    fake->ex.body_bytes_max = 1 << 20;
    fake->ex.priority = FG_PRIORITY_NORMAL;
    fake->ex.priority_number = fg_priority_compound(FG_PRIORITY_NORMAL, 17);
    fake->ex.deadline_ns = fg_clock_monotonic_ns() + 60 * FG_S;
    fake->ex.arena = &fake->arena;
    fake->ex.ops = &fake_ops;
}

void fake_exchange_fini(struct fake_exchange *fake)
{
    assert_null(fake->ex.backend_state);
    fg_arena_fini(&fake->arena);
    fg_arena_pool_fini(&fake->pool);
}
