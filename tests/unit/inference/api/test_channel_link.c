/*
 * test_channel_link.c: what a worker says takes no more of a turn of the loop than it may, and none
 * of it is lost when the worker ends.
 */
#include "inference/api/channel_link.h"

#include "base/clock.h"
#include "fake_worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#define FRAMES 200u
#define GUARD_NS (60 * FG_S)

struct fixture {
    struct event_base *base;
    struct fake_worker worker;
    struct fg_channel_link link;
    struct fg_counter turns_cut;
    char path[64];
    /* somebody else on the loop, who always has something to do */
    int other_fd;
    struct event *other;
    /* what was seen */
    unsigned frames;
    unsigned frames_at_other; /* when the other had its last turn */
    unsigned most_between;    /* frames between two turns of the other */
    unsigned lost;
    unsigned frames_at_lost;
};

static struct fixture *fixture_of(struct fg_channel_link *link)
{
    return link->owner;
}

static void on_ready(struct fg_channel_link *link)
{
    (void)link;
}

static void on_room(struct fg_channel_link *link)
{
    (void)link;
}

static void on_lost(struct fg_channel_link *link)
{
    struct fixture *f = fixture_of(link);
    f->lost++;
    f->frames_at_lost = f->frames;
}

static bool on_frame(struct fg_channel_link *link, const struct fg_channel_header *header,
                     struct fg_span payload)
{
    struct fixture *f = fixture_of(link);
    (void)payload;
    assert_int_equal(header->request_id, f->frames); /* in order, each once */
    f->frames++;
    return true;
}

static const struct fg_channel_link_events events = {on_ready, on_lost, on_frame, on_room};

static void on_other(evutil_socket_t fd, short what, void *arg)
{
    struct fixture *f = arg;
    (void)fd;
    (void)what;
    unsigned between = f->frames - f->frames_at_other;
    if (between > f->most_between)
        f->most_between = between;
    f->frames_at_other = f->frames;
}

#define RUN_UNTIL(f, condition)                                                                    \
    do {                                                                                           \
        uint64_t end_ns = fg_clock_monotonic_ns() + GUARD_NS;                                      \
        while (!(condition)) {                                                                     \
            assert_true(fg_clock_monotonic_ns() < end_ns);                                         \
            event_base_loop((f)->base, EVLOOP_ONCE);                                               \
        }                                                                                          \
    } while (0)

static void open_fixture(struct fixture *f, uint64_t turn_max_ns)
{
    *f = (struct fixture){.base = event_base_new()};
    snprintf(f->path, sizeof(f->path), "/tmp/fg-test-link-%d", getpid());
    fake_worker_open(&f->worker, f->base, f->path);
    f->other_fd = eventfd(1, EFD_CLOEXEC);
    f->other = event_new(f->base, f->other_fd, EV_READ | EV_PERSIST, on_other, f);
    event_add(f->other, NULL);
    f->link = (struct fg_channel_link){.path = f->path,
                                       .owner = f,
                                       .events = &events,
                                       .base = f->base,
                                       .turn_max_ns = turn_max_ns,
                                       .turns_cut = &f->turns_cut,
                                       .out_bytes_max = 4096,
                                       .cancel_bytes_max = 4096};
    assert_int_equal(fg_channel_link_open(&f->link), FG_OK);
    RUN_UNTIL(f, f->link.state == FG_LINK_READY);
}

static void close_fixture(struct fixture *f)
{
    fg_channel_link_close(&f->link);
    fake_worker_close(&f->worker);
    event_free(f->other);
    close(f->other_fd);
    event_base_free(f->base);
    unlink(f->path);
}

static void say_much(struct fixture *f)
{
    unsigned char bytes[FRAMES * 64];
    size_t len = 0;
    const struct fg_channel_token token = {.text = FG_SPAN_LITERAL("x")};
    for (uint64_t i = 0; i < FRAMES; i++)
        len += fg_channel_write_token(bytes + len, sizeof(bytes) - len, i, &token);
    fake_worker_send(&f->worker, bytes, len, 0);
}

static void others_have_their_turn_between(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 1); /* a nanosecond: one frame a turn */
    say_much(&f);
    RUN_UNTIL(&f, f.frames == FRAMES);
    assert_true(f.most_between <= 2);
    assert_true(fg_counter_get(&f.turns_cut) >= FRAMES / 2);
    assert_int_equal(f.lost, 0);
    close_fixture(&f);
}

static void without_a_bound_all_comes_at_once(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 0);
    say_much(&f);
    RUN_UNTIL(&f, f.frames == FRAMES);
    assert_int_equal(fg_counter_get(&f.turns_cut), 0);
    close_fixture(&f);
}

static void last_words_count(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 1);
    say_much(&f);
    fake_worker_kill(&f.worker);
    RUN_UNTIL(&f, f.lost > 0);
    assert_int_equal(f.frames_at_lost, FRAMES);
    assert_int_equal(f.lost, 1);
    event_base_loop(f.base, EVLOOP_ONCE); /* nothing of it comes again */
    assert_int_equal(f.frames, FRAMES);
    close_fixture(&f);
}

static void a_link_that_is_closed_says_no_more(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, 1);
    say_much(&f);
    RUN_UNTIL(&f, f.frames > 0 && f.link.is_cut);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_have_their_turn_between),
        cmocka_unit_test(without_a_bound_all_comes_at_once),
        cmocka_unit_test(last_words_count),
        cmocka_unit_test(a_link_that_is_closed_says_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
