/*
 * fake_exchange.c: an answer may begin once, is written after its head, and ends once.
 */
#include "fake_exchange.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct fake_exchange *open_one(struct fg_exchange *ex)
{
    struct fake_exchange *fake = (struct fake_exchange *)ex;
    assert_int_equal(fake->end, FAKE_OPEN);
    return fake;
}

static void set_end(struct fake_exchange *fake, enum fake_end end)
{
    fake->end = end;
    if (fake->on_end != NULL)
        fake->on_end(fake);
}

static void head(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                 size_t field_count)
{
    struct fake_exchange *fake = open_one(ex);
    assert_int_equal(fake->status, 0);
    assert_true((status >= 200 && status <= 599) || (status == 101 && ex->upgrade.data != NULL));
    fake->status = status;
    fake->field_count = field_count;
    fake->fields = calloc(field_count + 1, sizeof(*fake->fields));
    assert_non_null(fake->fields);
    if (field_count > 0)
        memcpy(fake->fields, fields, field_count * sizeof(*fields));
}

static void interim(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                    size_t field_count)
{
    struct fake_exchange *fake = open_one(ex);
    (void)fields;
    (void)field_count;
    assert_int_equal(fake->status, 0); /* before head */
    assert_true(status == 102 || status == 103);
    fake->interim_status = status;
    fake->interim_count++;
}

static void trailers(struct fg_exchange *ex, const struct fg_field *fields, size_t field_count)
{
    struct fake_exchange *fake = open_one(ex);
    assert_true(fake->status != 0 && fake->trailer_count == 0);
    assert_true(field_count <= FAKE_FIELDS_MAX);
    if (field_count > 0)
        memcpy(fake->trailers, fields, field_count * sizeof(*fields));
    fake->trailer_count = field_count;
}

static bool write_body(struct fg_exchange *ex, const void *data, size_t len)
{
    struct fake_exchange *fake = open_one(ex);
    assert_true(fake->status != 0 && len > 0);
    if (fake->body_len + len + 1 > fake->body_capacity) {
        fake->body_capacity = (fake->body_len + len + 1) * 2;
        fake->body = realloc(fake->body, fake->body_capacity);
        assert_non_null(fake->body);
    }
    memcpy(fake->body + fake->body_len, data, len);
    fake->body_len += len;
    fake->body[fake->body_len] = '\0';
    fake->write_count++;
    if (len > fake->write_len_most)
        fake->write_len_most = len;
    fake->unread += len;
    return fake->unread < fake->window;
}

static void end(struct fg_exchange *ex)
{
    struct fake_exchange *fake = open_one(ex);
    assert_true(fake->status != 0);
    set_end(fake, FAKE_ENDED);
}

static void head_end(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                     size_t field_count)
{
    head(ex, status, fields, field_count);
    end(ex);
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
    snprintf(fake->code, sizeof(fake->code), "%s", refusal->code);
    snprintf(fake->message, sizeof(fake->message), "%s", refusal->message);
    set_end(fake, FAKE_REFUSED);
}

static void fail_exchange(struct fg_exchange *ex, enum fg_failure failure, const char *detail)
{
    struct fake_exchange *fake = open_one(ex);
    fake->failure = failure;
    snprintf(fake->message, sizeof(fake->message), "%s", detail);
    set_end(fake, FAKE_FAILED);
}

static void consumed(struct fg_exchange *ex, size_t len)
{
    assert_true(len > 0);
    open_one(ex)->consumed += len;
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
    open_one(ex)->has_released_slot = true;
}

static const struct fg_exchange_ops fake_ops = {
    .interim = interim,
    .head = head,
    .head_end = head_end,
    .write = write_body,
    .trailers = trailers,
    .end = end,
    .refuse = refuse,
    .fail = fail_exchange,
    .consumed = consumed,
    .hop_time = hop_time,
    .release_slot = release_slot,
};

static enum fg_method method_of(const char *text)
{
    static const char *const names[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                        "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0)
            return (enum fg_method)i;
    }
    return FG_METHOD_OTHER;
}

void fake_exchange_init(struct fake_exchange *fake, const char *method, const char *path,
                        const char *query)
{
    memset(fake, 0, sizeof(*fake));
    fg_arena_pool_init(&fake->pool, 4096);
    fg_arena_init(&fake->arena, &fake->pool, 1 << 20);
    fake->window = SIZE_MAX;
    fake->ex.request_id = FG_SPAN("req-1");
    fake->ex.user_id = FG_SPAN("user-1");
    fake->ex.client_addr = FG_SPAN("192.0.2.7");
    fake->ex.method = method_of(method);
    fake->ex.method_text = fg_span_from_string(method);
    fake->ex.scheme = FG_SPAN("https");
    fake->ex.authority = FG_SPAN("shop.example");
    fake->ex.path = fg_span_from_string(path);
    fake->ex.query = fg_span_from_string(query);
    fake->ex.fields = fake->request_fields;
    fake->ex.body_bytes_max = UINT64_C(1) << 30;
    fake->ex.priority = FG_PRIORITY_NORMAL;
    fake->ex.started_ns = fg_clock_monotonic_ns();
    fake->ex.deadline_ns = fake->ex.started_ns + 60 * FG_S;
    fake->ex.arena = &fake->arena;
    fake->ex.ops = &fake_ops;
}

void fake_exchange_has_body(struct fake_exchange *fake, int64_t content_length)
{
    fake->ex.has_body = true;
    fake->ex.content_length = content_length;
}

void fake_exchange_add_field(struct fake_exchange *fake, const char *name, const char *value)
{
    assert_true(fake->ex.field_count < FAKE_FIELDS_MAX);
    fake->request_fields[fake->ex.field_count++] =
        (struct fg_field){fg_span_from_string(name), fg_span_from_string(value)};
}

void fake_exchange_fini(struct fake_exchange *fake)
{
    if (fake->ex.arena == NULL)
        return;
    assert_int_not_equal(fake->end, FAKE_OPEN);
    fg_arena_fini(&fake->arena);
    fg_arena_pool_fini(&fake->pool);
    free(fake->fields);
    free(fake->body);
    memset(fake, 0, sizeof(*fake));
}

const char *fake_exchange_answer(struct fake_exchange *fake, const char *name)
{
    struct fg_span wanted = fg_span_from_string(name);
    for (size_t i = 0; i < fake->field_count; i++) {
        if (fg_span_equal(fake->fields[i].name, wanted))
            return fg_arena_try_copy(&fake->arena, fake->fields[i].value).data;
    }
    return NULL;
}

size_t fake_exchange_answer_count(const struct fake_exchange *fake, const char *name)
{
    struct fg_span wanted = fg_span_from_string(name);
    size_t count = 0;
    for (size_t i = 0; i < fake->field_count; i++)
        count += fg_span_equal(fake->fields[i].name, wanted);
    return count;
}
