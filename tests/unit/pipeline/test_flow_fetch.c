/*
 * test_flow_fetch.c: one fetch for all who ask for a cached page at once.
 */
#include "flow_fixture.h"

#include "pipeline/cache_fetch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void fetches_once_for_all(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/cached", false);
    struct fake_request *b = flow_ask(FG_METHOD_GET, "/cached", false);
    struct fake_request *c = flow_ask(FG_METHOD_GET, "/cached", false);
    assert_int_equal(flow.started, 1);
    fg_pipeline_handler.on_gone(&c->req, FG_GONE_CLIENT_CLOSED);
    flow_finish(c);
    flow_answer(flow.open_exchanges[0], 200, "page", "max-age=60");
    flow_run_messages();
    assert_string_equal(a->body, "page");
    assert_string_equal(b->body, "page");
    struct fake_request *d = flow_ask(FG_METHOD_GET, "/cached", false);
    assert_string_equal(d->body, "page");
    assert_int_equal(flow.started, 1);
    flow_finish(a);
    flow_finish(b);
    flow_finish(d);
}

static void a_leader_that_leaves_ends_no_fetch(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/cached", false);
    struct fake_request *b = flow_ask(FG_METHOD_GET, "/cached", false);
    fg_pipeline_handler.on_gone(&a->req, FG_GONE_CLIENT_CLOSED);
    flow_finish(a);
    flow_run_messages();
    assert_int_equal(flow.started, 1);
    assert_int_equal(flow.cancelled, 0);
    flow_answer(flow.open_exchanges[0], 200, "page", "max-age=60");
    flow_run_messages();
    assert_string_equal(b->body, "page");
    flow_finish(b);
}

static void begin(struct fg_exchange *ex, unsigned status, const char *cache_control,
                  const char *body)
{
    const struct fg_field fields[] = {
        {FG_SPAN("cache-control"), fg_span_from_string(cache_control)}};
    fg_exchange_head(ex, status, fields, 1);
    (void)fg_exchange_write(ex, body, strlen(body));
    flow_run_messages();
}

static void those_who_wait_read_as_it_comes(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/cached", false);
    struct fake_request *b = flow_ask(FG_METHOD_GET, "/cached", false);
    struct fg_exchange *ex = flow.open_exchanges[0];
    begin(ex, 200, "max-age=60", "first ");
    assert_string_equal(a->body, "first ");
    assert_string_equal(b->body, "first ");
    struct fake_request *c = flow_ask(FG_METHOD_GET, "/cached", false);
    flow_run_messages();
    assert_string_equal(c->body, "first ");
    fg_pipeline_handler.on_gone(&a->req, FG_GONE_CLIENT_CLOSED);
    flow_finish(a);
    (void)fg_exchange_write(ex, "last", 4);
    flow_forget(ex);
    fg_exchange_end(ex);
    flow_run_messages();
    assert_string_equal(b->body, "first last");
    assert_string_equal(c->body, "first last");
    assert_true(b->has_ended && c->has_ended);
    flow_finish(b);
    flow_finish(c);
}

static void a_fetch_that_breaks_off_is_no_success(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/cached", false);
    struct fake_request *b = flow_ask(FG_METHOD_GET, "/cached", false);
    struct fg_exchange *ex = flow.open_exchanges[0];
    begin(ex, 200, "max-age=60", "half");
    flow_forget(ex);
    fg_exchange_fail(ex, FG_FAILURE_RESET, "test");
    flow_run_messages();
    assert_true(a->has_aborted && b->has_aborted);
    assert_false(a->has_ended || b->has_ended);
    flow_finish(a);
    flow_finish(b);
    struct fake_request *c = flow_ask(FG_METHOD_GET, "/cached", false); /* nothing was kept */
    assert_int_equal(flow.started, 2);
    flow_answer(flow.open_exchanges[0], 200, "whole", "max-age=60");
    flow_run_messages();
    assert_string_equal(c->body, "whole");
    flow_finish(c);
}

static void only_one_more_tries_after_a_failure(void **state)
{
    (void)state;
    struct fake_request *asked[6];
    for (unsigned i = 0; i < 6; i++)
        asked[i] = flow_ask(FG_METHOD_GET, "/cached", false);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(flow.started, i + 1);
        struct fg_exchange *ex = flow.open_exchanges[0];
        flow_forget(ex);
        fg_exchange_fail(ex, FG_FAILURE_CONNECT, "test");
        flow_run_messages();
    }
    assert_int_equal(flow.started, 2);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(asked[i]->status, 502);
        assert_non_null(strstr(asked[i]->body, "backend_unreachable"));
        flow_finish(asked[i]);
    }
}

static void nobodys_private_answer_is_cancelled(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/cached", false);
    begin(flow.open_exchanges[0], 200, "private", "for a");
    assert_string_equal(a->body, "for a");
    fg_pipeline_handler.on_gone(&a->req, FG_GONE_CLIENT_CLOSED);
    flow_finish(a);
    flow_run_messages();
    assert_int_equal(flow.cancelled, 1);
    assert_int_equal(flow.open_count, 0);
}

static void the_loops_end_ends_its_fetches(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/cached", false);
    fg_pipeline_handler.on_gone(&a->req, FG_GONE_CLIENT_CLOSED);
    flow_finish(a);
    assert_int_equal(flow.open_count, 1);
    fg_cache_fetch_cancel_all(flow.thread);
    assert_int_equal(flow.cancelled, 1);
}

static void does_not_share_what_is_private(void **state)
{
    (void)state;
    struct fake_request *a = flow_ask(FG_METHOD_GET, "/cached", false);
    struct fake_request *b = flow_ask(FG_METHOD_GET, "/cached", false);
    flow_answer(flow.open_exchanges[0], 200, "for a", "private");
    flow_run_messages();
    assert_string_equal(a->body, "for a");
    assert_int_equal(flow.started, 2);
    flow_answer(flow.open_exchanges[0], 200, "for b", "private");
    flow_run_messages();
    assert_string_equal(b->body, "for b");
    flow_finish(a);
    flow_finish(b);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, flow_setup, flow_teardown)
    const struct CMUnitTest tests[] = {
        CASE(fetches_once_for_all),
        CASE(a_leader_that_leaves_ends_no_fetch),
        CASE(those_who_wait_read_as_it_comes),
        CASE(a_fetch_that_breaks_off_is_no_success),
        CASE(only_one_more_tries_after_a_failure),
        CASE(nobodys_private_answer_is_cancelled),
        CASE(the_loops_end_ends_its_fetches),
        CASE(does_not_share_what_is_private),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
