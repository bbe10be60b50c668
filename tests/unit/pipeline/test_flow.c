/*
 * test_flow.c: the whole pipeline between a codec and a backend that the test plays itself.
 */
#include "flow_fixture.h"

#include "base/clock.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* However little there is, and wherever it ends: never a cut without a word. */
static void answers_whom_there_is_no_memory_for(void **state)
{
    (void)state;
    unsigned refused = 0;
    for (size_t memory = 0; memory <= 8192; memory += 64) {
        struct fake_request *fake = flow_ask_with(FG_METHOD_GET, "/mine", false, memory);
        flow_run_messages();
        assert_true(fake->has_ended && !fake->has_aborted);
        assert_true(fake->status == 401 || fake->status == 503);
        refused += fake->status == 503;
        flow_finish(fake);
    }
    assert_in_range(refused, 1,
                    128); /* and with a few KiB the answer is the one that it should be */
}

static void passes_an_answer_through(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/plain", false);
    assert_int_equal(flow.started, 1);
    flow_answer(flow.open_exchanges[0], 200, "hello", "no-store");
    assert_int_equal(a->status, 200);
    assert_string_equal(a->body, "hello");
    assert_true(a->has_ended);
    flow_finish(a);
}

static void refuses_what_has_no_route_method_or_token(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/nowhere", false);
    assert_int_equal(a->status, 404);
    assert_non_null(strstr(a->body, "\"code\":\"no_route\""));
    struct fake_request *b = flow_ask(FG_METHOD_DELETE, "/plain", false);
    assert_int_equal(b->status, 405);
    struct fake_request *c = flow_ask(FG_METHOD_GET, "/mine", false);
    assert_int_equal(c->status, 401);
    assert_int_equal(flow.started, 0);
    flow_finish(a);
    flow_finish(b);
    flow_finish(c);
}

static void answers_what_is_about_the_way(void **state)
{
    (void)state;
    static const struct {
        enum fg_method method;
        const char *path;
        unsigned status;
    } cases[] = {
        {FG_METHOD_OPTIONS, "*", 200},
        {FG_METHOD_TRACE, "/slow", 405},
        {FG_METHOD_TRACE, "/nowhere", 405},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_request *a = flow_ask(cases[i].method, cases[i].path, false);
        assert_int_equal(a->status, cases[i].status);
        flow_finish(a);
    }
    assert_int_equal(flow.started, 0);
    struct fake_request *b = flow_ask(FG_METHOD_OPTIONS, "/slow", false);
    assert_int_equal(flow.started, 1);
    fg_pipeline_handler.on_gone(&b->req, FG_GONE_CLIENT_CLOSED);
    flow_finish(b);
}

static void queues_then_refuses_with_a_place(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *b = flow_ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *c = flow_ask(FG_METHOD_GET, "/slow", false);
    assert_int_equal(flow.started, 1);
    assert_int_equal(b->status, 0);
    assert_int_equal(c->status, 503);
    assert_non_null(strstr(c->body, "\"code\":\"queue_full\""));
    assert_non_null(strstr(c->body, "\"position\":1"));
    assert_true(c->retry_after[0] != '\0');
    flow_answer(flow.open_exchanges[0], 200, "a", "no-store");
    flow_run_messages();
    assert_int_equal(flow.started, 2);
    flow_answer(flow.open_exchanges[0], 200, "b", "no-store");
    assert_int_equal(b->status, 200);
    flow_finish(a);
    flow_finish(b);
    flow_finish(c);
}

static void keeps_the_body_while_it_waits(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *b = flow_ask(FG_METHOD_POST, "/slow", true);
    fg_pipeline_handler.on_body(&b->req, "one ", 4, false);
    fg_pipeline_handler.on_body(&b->req, "two", 3, false);
    assert_int_equal(b->consumed, 0);
    flow_answer(flow.open_exchanges[0], 200, "a", "no-store");
    flow_run_messages();
    assert_string_equal(flow.body_seen, "one two");
    assert_false(flow.body_ended);
    fg_pipeline_handler.on_body(&b->req, NULL, 0, true);
    assert_true(flow.body_ended);
    assert_int_equal(b->consumed, 7);
    flow_answer(flow.open_exchanges[0], 200, "b", "no-store");
    flow_finish(a);
    flow_finish(b);
}

static void a_wanted_body_is_whole_before_a_place_is_taken(void **state)
{
    (void)state;
    flow.body_wanted = 100;
    struct fake_request *a = flow_ask(FG_METHOD_POST, "/slow", true);
    struct fake_request *b = flow_ask(FG_METHOD_POST, "/slow", true);
    for (const char *at = "byte by byte"; *at != '\0'; at++)
        fg_pipeline_handler.on_body(&b->req, at, 1, false);
    assert_int_equal(b->consumed, 12); /* so that more may come */
    assert_int_equal(fg_counter_get(&flow.thread->metrics->awaiting_body), 2);
    assert_int_equal(fg_gate_gauges(fg_pipeline_gate(flow.pipeline, 0), 0).in_flight, 0);
    assert_int_equal(flow.started, 0);
    fg_pipeline_handler.on_body(&b->req, NULL, 0, true);
    assert_int_equal(flow.started, 1);
    assert_true(flow.body_ended);
    assert_string_equal(flow.body_seen, "byte by byte");
    assert_int_equal(b->consumed, 12);
    assert_int_equal(b->req.ex.content_length, 12);
    assert_true(fg_flow_of(&b->req)->hop_ns[FG_HOP_UPLOAD] > 0);
    flow_answer(flow.open_exchanges[0], 200, "b", "no-store");
    flow_finish(b);
    fg_pipeline_handler.on_gone(&a->req, FG_GONE_CLIENT_CLOSED);
    flow_finish(a);
    assert_int_equal(flow.started, 1);
}

static void a_body_longer_than_wanted_is_refused(void **state)
{
    (void)state;
    flow.body_wanted = 10;
    struct fake_request *fake = flow_ask(FG_METHOD_POST, "/slow", true);
    fg_pipeline_handler.on_body(&fake->req, "0123456789", 10, false);
    assert_int_equal(fake->status, 0);
    fg_pipeline_handler.on_body(&fake->req, "x", 1, false);
    assert_int_equal(fake->status, 413);
    assert_non_null(strstr(fake->body, "\"code\":\"body_too_large\""));
    assert_non_null(strstr(fake->body, "\"value\":11,\"limit\":10"));
    flow_finish(fake);
    flow.body_wanted = 5000; /* the route takes less */
    fake = flow_ask(FG_METHOD_POST, "/slow", true);
    char more[1001] = {0};
    fg_pipeline_handler.on_body(&fake->req, more, sizeof(more), true);
    assert_int_equal(fake->status, 413);
    flow_finish(fake);
    assert_int_equal(flow.started, 0);
}

static void a_wanted_body_without_memory_is_refused(void **state)
{
    (void)state;
    flow.body_wanted = 1000;
    struct fake_request *fake = flow_ask(FG_METHOD_POST, "/slow", true);
    char some[600] = {0};
    fg_pipeline_handler.on_body(&fake->req, some, 400, false);
    struct fg_arena *arena = fake->req.ex.arena;
    arena->bytes_max = arena->bytes_used;
    fg_pipeline_handler.on_body(&fake->req, some, 600, false); /* has room already */
    assert_int_equal(fake->status, 0);
    fg_pipeline_handler.on_gone(&fake->req, FG_GONE_TIMEOUT);
    flow_finish(fake);
    fake = flow_ask(FG_METHOD_POST, "/slow", true);
    fake->req.ex.arena->bytes_max = fake->req.ex.arena->bytes_used + 500;
    fg_pipeline_handler.on_body(&fake->req, some, 600, false);
    assert_int_equal(fake->status, 503);
    flow_finish(fake);
    assert_int_equal(flow.started, 0);
}

/* Two hundredths of a thousand chunks. */
static void those_who_wait_longest_for_a_body_give_way(void **state)
{
    (void)state;
    enum { COUNT = 30 };
    struct fake_request *fakes[COUNT];
    const char some[2000] = {0};
    unsigned refused = 0, waiting = 0;
    flow.body_wanted = 60000;
    for (unsigned i = 0; i < COUNT; i++) {
        fakes[i] = flow_ask(FG_METHOD_POST, "/limited", true);
        assert_int_equal(fakes[i]->status, 0);
        assert_true(flow.thread->awaiting_chunks <= 20);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        assert_true(fakes[i]->status == 0 || waiting == 0); /* from the front */
        waiting += fakes[i]->status == 0;
        refused += fakes[i]->status == 503;
    }
    assert_true(refused > 0 && waiting > 2 && refused + waiting == COUNT);
    assert_non_null(strstr(fakes[0]->body, "\"policy\":\"awaiting_body_share\""));
    assert_int_equal(fg_counter_get(&flow.thread->metrics->awaiting_body), waiting);
    /* The longest may be the one that grows; the newest makes the others leave, and stays alone. */
    for (unsigned i = 0; i < 18 && fakes[refused]->status == 0; i++)
        fg_pipeline_handler.on_body(&fakes[refused]->req, some, sizeof(some), false);
    assert_int_equal(fakes[refused]->status, 503);
    for (unsigned i = 0; i < 18; i++)
        fg_pipeline_handler.on_body(&fakes[COUNT - 1]->req, some, sizeof(some), false);
    assert_int_equal(fakes[COUNT - 1]->status, 0);
    assert_int_equal(fakes[refused + 1]->status, 503);
    assert_true(flow.thread->awaiting_chunks <= 20);
    fg_pipeline_handler.on_body(&fakes[COUNT - 1]->req, NULL, 0, true);
    assert_int_equal(flow.started, 1);
    flow_answer(flow.open_exchanges[0], 200, "it", "no-store");
    for (unsigned i = 0; i < COUNT; i++) {
        if (fakes[i]->status == 0)
            fg_pipeline_handler.on_gone(&fakes[i]->req, FG_GONE_CLIENT_CLOSED);
        flow_finish(fakes[i]);
    }
    assert_int_equal(flow.thread->awaiting_chunks, 0);
    assert_true(fg_list_is_empty(&flow.thread->awaiting_bodies));
}

static void the_wait_for_a_body_ends_at_the_deadline(void **state)
{
    (void)state;
    flow.body_wanted = 1000;
    struct fake_request *fake = flow_ask(FG_METHOD_POST, "/plain", true);
    for (int i = 0; i < 1000 && fake->status == 0; i++)
        event_base_loop(fg_loop_base(flow.loop), EVLOOP_ONCE);
    assert_int_equal(fake->status, 504);
    flow_finish(fake);
    assert_int_equal(flow.started, 0);
}

static void a_body_too_long_to_wait_is_refused_when_it_comes(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *b =
        flow_ask(FG_METHOD_POST, "/slow", true); /* of no length that is known */
    char piece[60] = {0};
    fg_pipeline_handler.on_body(&b->req, piece, 60, false);
    assert_int_equal(b->status, 0);
    fg_pipeline_handler.on_body(&b->req, piece, 40, false);
    assert_int_equal(b->status, 0);
    fg_pipeline_handler.on_body(&b->req, piece, 1, false);
    assert_int_equal(b->status, 503);
    assert_non_null(strstr(b->body, "\"code\":\"queue_bytes\""));
    assert_non_null(strstr(b->body, "\"value\":100,\"limit\":100"));
    flow_finish(b);
    assert_int_equal(fg_gate_gauges(fg_pipeline_gate(flow.pipeline, 0), 0).queued, 0);
    flow_answer(flow.open_exchanges[0], 200, "a", "no-store");
    flow_run_messages();
    assert_int_equal(flow.started, 1);
    flow_finish(a);
}

static struct fg_gate_gauges gauges_of_route(void)
{
    return fg_gate_gauges(fg_pipeline_route_gate(flow.pipeline, FLOW_LIMITED), 0);
}

static struct fg_gate_gauges gauges_of_backend(void)
{
    return fg_gate_gauges(fg_pipeline_gate(flow.pipeline, 0), 0);
}

/* Two slots of the route; one slot and one place of the backend; two places of the route. */
static void the_routes_slot_comes_first(void **state)
{
    (void)state;
    struct fake_request *asked[5];
    for (unsigned i = 0; i < 5; i++)
        asked[i] = flow_ask(FG_METHOD_GET, "/limited", false);
    assert_int_equal(flow.started, 1);
    assert_true(gauges_of_route().in_flight == 2 && gauges_of_route().queued == 2);
    assert_true(gauges_of_backend().in_flight == 1 && gauges_of_backend().queued == 1);
    assert_int_equal(asked[4]->status, 503);
    assert_non_null(strstr(asked[4]->body, "\"policy\":\"route_queue\""));
    assert_non_null(strstr(asked[4]->body, "the route's queue is full"));
    /* others find the backend's queue full, and keep nothing of the route's by that */
    struct fake_request *other = flow_ask(FG_METHOD_GET, "/slow", false);
    assert_non_null(strstr(other->body, "\"policy\":\"queue\""));
    for (unsigned i = 0; i < 4; i++) {
        flow_answer(flow.open_exchanges[0], 200, "x", "no-store");
        assert_int_equal(asked[i]->status, 200);
        flow_run_messages();
        flow_run_messages();
        assert_int_equal(flow.started, i < 3 ? i + 2 : 4);
    }
    for (unsigned i = 0; i < 5; i++)
        flow_finish(asked[i]);
    flow_finish(other);
}

/* The backend has no place: the route's slot is given back at once, before the client has read. */
static void who_gets_no_slot_of_the_backend_keeps_none_of_the_route(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *b = flow_ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *c = flow_ask(FG_METHOD_GET, "/limited", false);
    assert_int_equal(c->status, 503);
    assert_int_equal(gauges_of_route().in_flight, 0);
    fg_pipeline_handler.on_gone(&b->req, FG_GONE_CLIENT_CLOSED);
    struct fake_request *d = flow_ask(FG_METHOD_GET, "/limited", false); /* waits for the backend */
    assert_int_equal(gauges_of_route().in_flight, 1);
    fg_pipeline_handler.on_gone(&d->req, FG_GONE_CLIENT_CLOSED);
    assert_int_equal(gauges_of_route().in_flight, 0);
    flow_answer(flow.open_exchanges[0], 200, "a", "no-store");
    flow_finish(a);
    flow_finish(b);
    flow_finish(c);
    flow_finish(d);
}

#define CROWD 12

/* Whatever comes in which order: bounds hold, and at the end nothing is held. */
static void no_slot_is_lost_or_handed_out_twice(void **state)
{
    (void)state;
    struct fake_request *crowd[CROWD] = {NULL};
    uint32_t random = 4711;
    unsigned served = 0;
    for (unsigned step = 0; step < 20000; step++) {
        random = random * 1664525u + 1013904223u;
        struct fake_request **one = &crowd[(random >> 8) % CROWD];
        unsigned act = random >> 28;
        if (*one == NULL) {
            *one = flow_ask(FG_METHOD_GET, act % 4 == 0 ? "/slow" : "/limited", false);
        } else if ((*one)->status != 0 || act < 2) {
            served += (*one)->status == 200;
            if ((*one)->status == 0)
                fg_pipeline_handler.on_gone(&(*one)->req, FG_GONE_CLIENT_CLOSED);
            flow_finish(*one);
            *one = NULL;
        } else if (act < 6 && flow.open_count > 0) {
            flow_answer(flow.open_exchanges[random % flow.open_count], 200, "x", "no-store");
        } else if (act > 12) {
            flow_run_messages();
        }
        assert_true(flow.open_count <= 1 && gauges_of_backend().in_flight <= 1);
        assert_true(gauges_of_route().in_flight <= 2 && gauges_of_route().queued <= 2);
    }
    assert_true(served > 300);
    for (unsigned i = 0; i < CROWD; i++) {
        if (crowd[i] == NULL)
            continue;
        fg_pipeline_handler.on_gone(&crowd[i]->req, FG_GONE_CLIENT_CLOSED);
        flow_finish(crowd[i]);
    }
    flow_run_messages();
    assert_true(gauges_of_backend().in_flight == 0 && gauges_of_backend().queued == 0);
    assert_true(gauges_of_route().in_flight == 0 && gauges_of_route().queued == 0);
}

static void lets_go_when_the_client_leaves(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *b = flow_ask(FG_METHOD_GET, "/slow", false);
    fg_pipeline_handler.on_gone(&b->req, FG_GONE_CLIENT_CLOSED); /* while it waits */
    flow_finish(b);
    fg_pipeline_handler.on_gone(&a->req, FG_GONE_CLIENT_CLOSED); /* at the backend */
    assert_int_equal(flow.cancelled, 1);
    flow_finish(a);
    flow_run_messages();
    assert_int_equal(flow.started, 1);
    struct fake_request *c = flow_ask(FG_METHOD_GET, "/slow", false);
    assert_int_equal(flow.started, 2); /* the slot is free again */
    flow_answer(flow.open_exchanges[0], 200, "c", "no-store");
    flow_finish(c);
}

static void a_turn_that_comes_too_late_finds_nobody(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *b = flow_ask(FG_METHOD_GET, "/slow", false);
    flow_answer(flow.open_exchanges[0], 200, "a", "no-store"); /* b's turn is in the mailbox */
    fg_pipeline_handler.on_gone(&b->req, FG_GONE_STREAM_RESET);
    flow_finish(b);
    flow_finish(a);
    flow_run_messages();
    assert_int_equal(flow.started, 1);
}

static void answers_504_at_the_deadline(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/plain", false);
    for (int i = 0; i < 1000 && a->status == 0; i++)
        event_base_loop(fg_loop_base(flow.loop), EVLOOP_ONCE);
    assert_int_equal(a->status, 504);
    assert_int_equal(flow.cancelled, 1);
    assert_non_null(strstr(a->body, "deadline_exceeded"));
    flow_finish(a);
}

static void tells_a_failed_backend_from_a_cut_answer(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/slow", false);
    struct fg_exchange *ex = flow.open_exchanges[0];
    flow_forget(ex);
    fg_exchange_fail(ex, FG_FAILURE_CONNECT, "refused");
    assert_int_equal(a->status, 502);
    flow_finish(a);
    struct fake_request *b = flow_ask(FG_METHOD_GET, "/slow", false);
    ex = flow.open_exchanges[0];
    flow_forget(ex);
    fg_exchange_head(ex, 200, NULL, 0);
    fg_exchange_fail(ex, FG_FAILURE_RESET, "cut");
    assert_int_equal(b->status, 200);
    assert_true(b->has_aborted);
    assert_false(b->has_ended);
    flow_finish(b);
    /* two failures in a row: the breaker is open */
    struct fake_request *c = flow_ask(FG_METHOD_GET, "/slow", false);
    assert_int_equal(c->status, 503);
    assert_non_null(strstr(c->body, "breaker_open"));
    assert_int_equal(flow.started, 2);
    flow_finish(c);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, flow_setup, flow_teardown)
    const struct CMUnitTest tests[] = {
        CASE(passes_an_answer_through),
        CASE(answers_whom_there_is_no_memory_for),
        CASE(refuses_what_has_no_route_method_or_token),
        CASE(answers_what_is_about_the_way),
        CASE(queues_then_refuses_with_a_place),
        CASE(keeps_the_body_while_it_waits),
        CASE(a_body_too_long_to_wait_is_refused_when_it_comes),
        CASE(a_wanted_body_is_whole_before_a_place_is_taken),
        CASE(a_body_longer_than_wanted_is_refused),
        CASE(a_wanted_body_without_memory_is_refused),
        CASE(the_wait_for_a_body_ends_at_the_deadline),
        CASE(those_who_wait_longest_for_a_body_give_way),
        CASE(the_routes_slot_comes_first),
        CASE(who_gets_no_slot_of_the_backend_keeps_none_of_the_route),
        CASE(no_slot_is_lost_or_handed_out_twice),
        CASE(lets_go_when_the_client_leaves),
        CASE(a_turn_that_comes_too_late_finds_nobody),
        CASE(answers_504_at_the_deadline),
        CASE(tells_a_failed_backend_from_a_cut_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
