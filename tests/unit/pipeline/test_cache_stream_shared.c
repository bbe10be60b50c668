/*
 * test_cache_stream_shared.c: bytes reach every reader as they come, on any loop; a stream that
 * does not keep holds a window; those whom an answer is not for are let on bit by bit.
 */
#include "pipeline/cache_stream_shared.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define READERS 40

static const struct fg_cache_hops no_hops;

struct reading {
    struct fg_cache_reader *reader;
    unsigned news;
    size_t len;
    enum fg_cache_read last;
    char bytes[64];
};

static struct fg_cache_readers home;
static struct fg_loop *loop;

static int open_loop(void **state)
{
    (void)state;
    loop = fg_loop_create(0, 64);
    return loop == NULL;
}

static int close_loop(void **state)
{
    (void)state;
    fg_mailbox_drain(fg_loop_mailbox(loop));
    fg_loop_destroy(loop);
    fg_cache_readers_fini(&home);
    return 0;
}

static void on_news(void *owner)
{
    ((struct reading *)owner)->news++;
}

static struct fg_cache_stream *open_stream(void)
{
    return fg_cache_stream_create(loop, FG_SPAN("k"), READERS, 8);
}

static void join(struct fg_cache_stream *stream, struct reading *reading, bool is_leader)
{
    *reading = (struct reading){0};
    reading->reader = fg_cache_reader_create(&home, loop, on_news, reading);
    assert_true(fg_cache_stream_join(stream, reading->reader, is_leader));
}

static struct fg_cache_object *head(unsigned status)
{
    return fg_cache_object_create(&(struct fg_cache_draft){.status = status});
}

static void append(struct fg_cache_stream *stream, const char *text)
{
    bool may_go_on;
    assert_true(fg_cache_stream_append(stream, text, strlen(text), &may_go_on));
    assert_true(may_go_on);
}

/* Reads what is there, at most `most` bytes of it. */
static void take(struct reading *reading, size_t most)
{
    struct fg_cache_run run;
    while ((reading->last = fg_cache_reader_peek(reading->reader, &run)) == FG_CACHE_READ_DATA &&
           most > 0) {
        size_t len = run.bytes.len < most ? run.bytes.len : most;
        if (reading->len + len < sizeof(reading->bytes))
            memcpy(reading->bytes + reading->len, run.bytes.data, len);
        reading->len += len;
        most -= len;
        fg_cache_reader_advance(reading->reader, len);
    }
}

/* What the loop would do at the end of a turn. */
static void turn(void)
{
    fg_mailbox_drain(fg_loop_mailbox(loop));
    fg_loop_run_deferred(loop);
}

static void everybody_reads_from_the_first_byte_on(void **state)
{
    (void)state;
    struct fg_cache_stream *stream = open_stream();
    struct reading early, late, gone;
    join(stream, &early, true);
    join(stream, &gone, false);
    fg_cache_stream_set_head(stream, FG_CACHE_OUTCOME_SHARED, head(200), -1, true, &no_hops);
    fg_cache_reader_leave(gone.reader); /* with its news not delivered */
    turn();
    assert_int_equal(early.news, 1);
    assert_int_equal(gone.news, 0);
    assert_int_equal(fg_cache_reader_news(early.reader).object->head.status, 200);
    take(&early, SIZE_MAX);
    assert_int_equal(early.last, FG_CACHE_READ_WAIT);
    append(stream, "hello ");
    turn();
    assert_int_equal(early.news, 2);
    take(&early, 3);
    join(stream, &late, false); /* in the middle of it */
    turn();
    assert_int_equal(late.news, 1);
    append(stream, "world");
    struct fg_cache_body *body = fg_cache_stream_take_body(stream);
    assert_true(fg_span_equal(fg_cache_body_span(body), FG_SPAN("hello world")));
    fg_cache_body_release(body);
    fg_cache_stream_end(stream);
    fg_cache_stream_drop_writer(stream); /* the readers have what they need */
    take(&early, SIZE_MAX);
    take(&late, SIZE_MAX);
    assert_string_equal(early.bytes, "hello world");
    assert_string_equal(late.bytes, "hello world");
    assert_int_equal(late.last, FG_CACHE_READ_END);
    fg_cache_reader_leave(early.reader);
    fg_cache_reader_leave(late.reader);
}

static struct fg_cache_hint *hint(unsigned status)
{
    char name[] = "link";
    const struct fg_field field = {fg_span_make(name, 4), FG_SPAN("</a>")};
    struct fg_cache_hint *made = fg_cache_hint_create(status, &field, 1);
    name[0] = 'x'; /* it is a copy */
    return made;
}

static void hints_are_the_leaders(void **state)
{
    (void)state;
    struct fg_cache_stream *stream = open_stream();
    struct reading leader, other;
    fg_cache_stream_add_hint(stream, hint(103)); /* nobody reads: freed */
    join(stream, &other, false);
    join(stream, &leader, true);
    fg_cache_stream_add_hint(stream, hint(102));
    fg_cache_stream_add_hint(stream, NULL); /* had no memory */
    fg_cache_stream_add_hint(stream, hint(103));
    turn();
    assert_int_equal(leader.news, 1);
    assert_int_equal(other.news, 0);
    assert_null(fg_cache_reader_take_hints(other.reader));
    struct fg_cache_hint *hints = fg_cache_reader_take_hints(leader.reader);
    assert_int_equal(hints->status, 102);
    assert_int_equal(hints->field_count, 1);
    assert_true(fg_span_equal(hints->fields[0].name, FG_SPAN("link")));
    assert_true(fg_span_equal(hints->fields[0].value, FG_SPAN("</a>")));
    assert_int_equal(hints->next->status, 103);
    assert_null(hints->next->next);
    fg_cache_hint_destroy_all(hints);
    assert_null(fg_cache_reader_take_hints(leader.reader));
    assert_int_equal(fg_cache_reader_news(leader.reader).outcome, FG_CACHE_OUTCOME_PENDING);
    fg_cache_stream_add_hint(stream, hint(103)); /* it sleeps again, and is told again */
    turn();
    assert_int_equal(leader.news, 2);
    fg_cache_reader_leave(leader.reader); /* what it has not taken goes with the stream */
    fg_cache_reader_leave(other.reader);
    fg_cache_stream_drop_writer(stream);
}

static void a_known_length_is_one_piece(void **state)
{
    (void)state;
    struct fg_cache_stream *stream = open_stream();
    fg_cache_stream_set_head(stream, FG_CACHE_OUTCOME_SHARED, head(200), 8, true, &no_hops);
    append(stream, "abcd");
    append(stream, "efgh");
    struct fg_cache_body *body = fg_cache_stream_take_body(stream);
    assert_true(fg_span_equal(fg_cache_body_span(body), FG_SPAN("abcdefgh")));
    fg_cache_body_release(body);
    fg_cache_stream_end(stream);
    fg_cache_stream_drop_writer(stream);
    stream = open_stream();
    fg_cache_stream_set_head(stream, FG_CACHE_OUTCOME_SHARED, head(200), 3, true, &no_hops);
    append(stream, "ab");
    append(stream, "cdefgh"); /* more than promised is the backend's fault, and no overrun */
    fg_cache_stream_end(stream);
    fg_cache_stream_drop_writer(stream);
}

static void a_failure_is_told_before_and_after_the_head(void **state)
{
    (void)state;
    const struct fg_cache_failure failure = {.status = 502, .message = "why"};
    struct fg_cache_stream *stream = open_stream();
    struct reading a;
    join(stream, &a, true);
    fg_cache_stream_fail(stream, &failure);
    fg_cache_stream_drop_writer(stream);
    turn();
    struct fg_cache_news news = fg_cache_reader_news(a.reader);
    assert_int_equal(news.outcome, FG_CACHE_OUTCOME_FAILED);
    assert_string_equal(news.failure->message, "why");
    fg_cache_reader_leave(a.reader);
    stream = open_stream();
    join(stream, &a, true);
    fg_cache_stream_set_head(stream, FG_CACHE_OUTCOME_SHARED, head(200), -1, true, &no_hops);
    append(stream, "half");
    fg_cache_stream_fail(stream, &failure);
    fg_cache_stream_drop_writer(stream);
    take(&a, SIZE_MAX);
    assert_int_equal(a.last, FG_CACHE_READ_FAILED);
    fg_cache_reader_leave(a.reader);
}

static unsigned wakes;

static void on_wake(void *owner)
{
    (void)owner;
    wakes++;
}

static void a_stream_that_does_not_keep_waits_for_the_slowest(void **state)
{
    (void)state;
    static char block[10000];
    struct fg_cache_stream *stream = open_stream();
    struct reading a;
    bool may_go_on = true;
    wakes = 0;
    join(stream, &a, true);
    fg_cache_stream_set_writer(stream, on_wake, &wakes);
    fg_cache_stream_set_head(stream, FG_CACHE_OUTCOME_OWN, head(200), -1, false, &no_hops);
    size_t written = 0;
    while (may_go_on && written < 10000000) {
        assert_true(fg_cache_stream_append(stream, block, sizeof(block), &may_go_on));
        written += sizeof(block);
    }
    assert_in_range(written, 200000, 400000);
    take(&a, 10000);
    turn();
    assert_int_equal(wakes, 0);
    take(&a, written);
    turn();
    assert_int_equal(wakes, 1);
    assert_true(fg_cache_stream_has_readers(stream));
    fg_cache_reader_leave(a.reader); /* and the writer hears that nobody is left */
    turn();
    assert_int_equal(wakes, 2);
    assert_false(fg_cache_stream_has_readers(stream));
    fg_cache_stream_end(stream);
    fg_cache_stream_drop_writer(stream);
}

static unsigned count_released(struct reading *readings)
{
    unsigned count = 0;
    turn();
    for (unsigned i = 1; i < READERS; i++)
        count += readings[i].news > 0;
    return count;
}

static void a_herd_is_let_on_bit_by_bit(void **state)
{
    (void)state;
    static struct reading readings[READERS];
    struct fg_cache_stream *stream = open_stream();
    struct reading extra;
    for (unsigned i = 0; i < READERS; i++)
        join(stream, &readings[i], i == 0);
    extra.reader = fg_cache_reader_create(&home, loop, on_news, &extra);
    assert_false(fg_cache_stream_join(stream, extra.reader, false));
    fg_cache_reader_leave(extra.reader);
    fg_cache_stream_set_head(stream, FG_CACHE_OUTCOME_OWN, head(200), -1, false, &no_hops);
    assert_int_equal(count_released(readings), 8);
    append(stream, "for the leader");
    assert_int_equal(count_released(readings), 8);
    assert_true(fg_cache_reader_news(readings[1].reader).is_released);
    assert_false(fg_cache_reader_news(readings[20].reader).is_released);
    fg_cache_stream_let_on(stream, loop, 2); /* one of them is done */
    assert_int_equal(count_released(readings), 10);
    fg_cache_reader_leave(readings[2].reader); /* released, and left before it heard of it */
    assert_int_equal(count_released(readings), 11);
    fg_cache_stream_let_on(stream, NULL, 2); /* from another loop: by mailbox */
    assert_int_equal(count_released(readings), 13);
    fg_cache_stream_end(stream);
    assert_true(count_released(readings) > 13);
    take(&readings[0], SIZE_MAX);
    assert_string_equal(readings[0].bytes, "for the leader");
    fg_cache_stream_drop_writer(stream);
    for (unsigned i = 0; i < READERS; i++) {
        if (i != 2)
            fg_cache_reader_leave(readings[i].reader);
    }
}

/* ---- readers on other threads ---- */

#define BYTES 2000000

struct other {
    pthread_t thread;
    struct fg_loop *loop;
    struct fg_cache_readers readers;
    struct fg_cache_reader *reader;
    uint64_t sum;
    bool is_over;
};

static void read_on(void *owner)
{
    struct other *other = owner;
    struct fg_cache_run run;
    enum fg_cache_read result;
    if (fg_cache_reader_news(other->reader).outcome == FG_CACHE_OUTCOME_PENDING)
        return;
    while ((result = fg_cache_reader_peek(other->reader, &run)) == FG_CACHE_READ_DATA) {
        for (size_t i = 0; i < run.bytes.len; i++)
            other->sum += (unsigned char)run.bytes.data[i];
        fg_cache_reader_advance(other->reader, run.bytes.len);
    }
    if (result == FG_CACHE_READ_WAIT)
        return;
    assert_int_equal(result, FG_CACHE_READ_END);
    fg_cache_reader_leave(other->reader);
    fg_loop_stop(other->loop);
}

static void *run_other(void *arg)
{
    struct other *other = arg;
    fg_loop_run(other->loop);
    return NULL;
}

static void other_loops_read_along(void **state)
{
    (void)state;
    static struct other others[3];
    struct fg_cache_stream *stream = open_stream();
    uint64_t sum = 0;
    for (unsigned i = 0; i < 3; i++) {
        others[i].loop = fg_loop_create(i + 1, 64);
        others[i].reader =
            fg_cache_reader_create(&others[i].readers, others[i].loop, read_on, &others[i]);
        assert_true(fg_cache_stream_join(stream, others[i].reader, false));
        assert_int_equal(pthread_create(&others[i].thread, NULL, run_other, &others[i]), 0);
    }
    fg_cache_stream_set_head(stream, FG_CACHE_OUTCOME_SHARED, head(200), -1, true, &no_hops);
    for (unsigned done = 0; done < BYTES;) {
        char block[1000];
        bool may_go_on;
        for (unsigned i = 0; i < sizeof(block); i++)
            sum += (unsigned char)(block[i] = (char)(done + i));
        assert_true(fg_cache_stream_append(stream, block, sizeof(block), &may_go_on));
        done += sizeof(block);
    }
    fg_cache_stream_end(stream);
    fg_cache_stream_drop_writer(stream);
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(others[i].thread, NULL);
        assert_true(others[i].sum == sum);
        fg_mailbox_drain(fg_loop_mailbox(others[i].loop));
        fg_loop_destroy(others[i].loop);
        fg_cache_readers_fini(&others[i].readers);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_reads_from_the_first_byte_on),
        cmocka_unit_test(hints_are_the_leaders),
        cmocka_unit_test(a_known_length_is_one_piece),
        cmocka_unit_test(a_failure_is_told_before_and_after_the_head),
        cmocka_unit_test(a_stream_that_does_not_keep_waits_for_the_slowest),
        cmocka_unit_test(a_herd_is_let_on_bit_by_bit),
        cmocka_unit_test(other_loops_read_along),
    };
    return cmocka_run_group_tests(tests, open_loop, close_loop);
}
