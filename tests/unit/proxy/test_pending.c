/*
 * test_pending.c: requests that wait until one of the cluster's connections is left, and how many
 * requests and retries it bears.
 */
#include "proxy_fixture.h"

#define OK_HELLO "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"

static struct server_connection *conn(struct fixture *f, size_t index)
{
    return &f->server->connections[index];
}

static bool has_request(struct fixture *f, size_t index)
{
    return f->server->count > index && conn(f, index)->in_len > 4 &&
           strstr(conn(f, index)->in, "\r\n\r\n") != NULL;
}

static void answer(struct fixture *f, size_t index)
{
    RUN_UNTIL(f, has_request(f, index));
    upstream_server_send(f->server, index, OK_HELLO);
    upstream_server_forget(f->server, index);
}

/* used, max, most or refused of one limit */
static uint64_t limit_figure(struct fixture *f, const char *limit, const char *name)
{
    json_t *stats = json_object();
    f->backend->ops->stats(f->backend, stats);
    json_t *value = json_object_get(json_object_get(json_object_get(stats, "limits"), limit), name);
    assert_true(json_is_integer(value));
    uint64_t number = (uint64_t)json_integer_value(value);
    json_decref(stats);
    return number;
}

static struct fake_exchange *get_as(struct fixture *f, size_t index, uint32_t priority_number)
{
    struct fake_exchange *fake = &f->exchanges[index];
    fake_exchange_init(fake, "GET", "/", NULL);
    fake->ex.priority_number = priority_number;
    fixture_start(f, index);
    return fake;
}

static void waits_for_the_one_connection(void **state)
{
    struct fixture *f = *state;
    f->conf.max_connections = 1;
    f->conf.limits.pending_max = 2;
    fixture_open_plain(f);
    struct fake_exchange *fakes[4];
    for (size_t i = 0; i < 4; i++)
        fakes[i] = fixture_get(f, i, "/");
    assert_int_equal(fakes[3]->end, FAKE_REFUSED);
    assert_int_equal(fakes[3]->status, 503);
    assert_string_equal(fakes[3]->code, "cluster_pending");
    assert_non_null(strstr(fakes[3]->message, "1 connections of cluster api"));
    assert_true(fakes[3]->retry_after_ms > 0);
    assert_int_equal(limit_figure(f, "pending", "used"), 2);
    for (size_t i = 0; i < 3; i++) {
        answer(f, 0);
        RUN_UNTIL(f, fakes[i]->end == FAKE_ENDED);
    }
    assert_int_equal(f->server->count, 1); /* one connection, used again */
    assert_int_equal(limit_figure(f, "connections", "most"), 1);
    assert_int_equal(limit_figure(f, "pending", "used"), 0);
    assert_int_equal(limit_figure(f, "pending", "refused"), 1);
    assert_int_equal(limit_figure(f, "requests", "used"), 0);
    assert_int_equal(limit_figure(f, "requests", "most"), 4);
}

static void the_most_important_gets_it_first(void **state)
{
    struct fixture *f = *state;
    f->conf.max_connections = 1;
    f->conf.limits.pending_max = 8;
    fixture_open_plain(f);
    struct fake_exchange *first = get_as(f, 0, 200);
    struct fake_exchange *low = get_as(f, 1, 300);
    struct fake_exchange *high = get_as(f, 2, 100);
    struct fake_exchange *low_too = get_as(f, 3, 300);
    answer(f, 0);
    RUN_UNTIL(f, first->end == FAKE_ENDED);
    answer(f, 0);
    RUN_UNTIL(f, high->end == FAKE_ENDED);
    assert_int_equal(low->end, FAKE_OPEN);
    answer(f, 0);
    RUN_UNTIL(f, low->end == FAKE_ENDED);
    assert_int_equal(low_too->end, FAKE_OPEN); /* of equals the one who came first */
    answer(f, 0);
    RUN_UNTIL(f, low_too->end == FAKE_ENDED);
}

static void who_leaves_gives_the_place_back(void **state)
{
    struct fixture *f = *state;
    f->conf.max_connections = 1;
    f->conf.limits.pending_max = 1;
    fixture_open_plain(f);
    struct fake_exchange *first = fixture_get(f, 0, "/");
    fixture_get(f, 1, "/");
    f->backend->ops->cancel(&f->exchanges[1].ex);
    f->exchanges[1].end = FAKE_CANCELLED;
    assert_int_equal(limit_figure(f, "pending", "used"), 0);
    struct fake_exchange *third = fixture_get(f, 2, "/");
    assert_int_equal(third->end, FAKE_OPEN);
    answer(f, 0);
    RUN_UNTIL(f, first->end == FAKE_ENDED);
    answer(f, 0);
    RUN_UNTIL(f, third->end == FAKE_ENDED);
}

static void a_broken_connection_frees_its_place(void **state)
{
    struct fixture *f = *state;
    f->conf.max_connections = 1;
    f->conf.limits.pending_max = 1;
    fixture_open_plain(f);
    struct fake_exchange *first = fixture_get(f, 0, "/");
    struct fake_exchange *second = fixture_get(f, 1, "/");
    RUN_UNTIL(f, has_request(f, 0));
    upstream_server_hang_up(f->server, 0, true);
    RUN_UNTIL(f, first->end == FAKE_FAILED);
    answer(f, 1);
    RUN_UNTIL(f, second->end == FAKE_ENDED);
    assert_int_equal(limit_figure(f, "connections", "most"), 1);
}

static void has_no_more_requests_than_allowed(void **state)
{
    struct fixture *f = *state;
    f->conf.limits.requests_max = 2;
    fixture_open_plain(f);
    struct fake_exchange *fakes[3];
    for (size_t i = 0; i < 3; i++)
        fakes[i] = fixture_get(f, i, "/");
    assert_int_equal(fakes[2]->end, FAKE_REFUSED);
    assert_string_equal(fakes[2]->code, "cluster_requests");
    assert_non_null(strstr(fakes[2]->message, "2 requests, its limit"));
    for (size_t i = 0; i < 2; i++)
        answer(f, i);
    RUN_UNTIL(f, fakes[0]->end == FAKE_ENDED && fakes[1]->end == FAKE_ENDED);
    assert_int_equal(limit_figure(f, "requests", "used"), 0);
    assert_int_equal(limit_figure(f, "requests", "most"), 2);
}

static void in_shadow_they_are_only_counted(void **state)
{
    struct fixture *f = *state;
    f->conf.limits = (struct fg_cluster_limits_conf){.requests_max = 1, .is_shadow = true};
    f->conf.max_connections = 1;
    fixture_open_plain(f);
    struct fake_exchange *first = fixture_get(f, 0, "/");
    struct fake_exchange *second = fixture_get(f, 1, "/"); /* pending is off, and it waits */
    assert_int_equal(limit_figure(f, "requests", "refused"), 1);
    assert_int_equal(limit_figure(f, "pending", "refused"), 1);
    answer(f, 0);
    RUN_UNTIL(f, first->end == FAKE_ENDED);
    answer(f, 0);
    RUN_UNTIL(f, second->end == FAKE_ENDED);
    assert_int_equal(limit_figure(f, "connections", "most"), 1);
    assert_int_equal(limit_figure(f, "requests", "used"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(waits_for_the_one_connection, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(the_most_important_gets_it_first, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(who_leaves_gives_the_place_back, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_broken_connection_frees_its_place, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(has_no_more_requests_than_allowed, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(in_shadow_they_are_only_counted, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
