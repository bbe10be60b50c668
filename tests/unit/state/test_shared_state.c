/*
 * test_shared_state.c: scripts get their numbers, a Redis that is not there is told at once and
 * waited for by nobody, and the figures say so.
 */
#include "state/shared_state.h"

#include "base/clock.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define PATIENCE_NS (20 * FG_S)

struct fixture {
    struct fg_shared_state_conf conf;
    char address[128];
    struct fg_backend_env env;
    struct fg_shared_state *state;
    unsigned replies;
    enum fg_redis_outcome outcome;
};

static int set_up(void **state)
{
    static struct fixture f;
    struct fg_error error;
    memset(&f, 0, sizeof(f));
    snprintf(f.address, sizeof(f.address), "unix:/tmp/fg-no-redis-%d.sock", (int)getpid());
    f.conf = (struct fg_shared_state_conf){
        .enabled = true,
        .redis = {.address = f.address,
                  .connect_timeout_ns = FG_S,
                  .command_timeout_ns = 20 * FG_MS,
                  .commands_in_flight_max = 2},
        .prefix = "fg",
    };
    f.env = (struct fg_backend_env){.base = event_base_new(), .thread_count = 1};
    f.state = fg_shared_state_create(&f.conf, 1, &error);
    assert_non_null(f.env.base);
    assert_non_null(f.state);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fg_shared_state_destroy(f->state);
    event_base_free(f->env.base);
    return 0;
}

static void a_malformed_address_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct fg_error error;
    f->conf.redis.address = "nowhere:0";
    assert_null(fg_shared_state_create(&f->conf, 1, &error));
    assert_non_null(strstr(error.message, "malformed"));
}

static void scripts_are_numbered_in_turn(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(fg_shared_state_add_script(f->state, "return 1", 8), 0);
    assert_int_equal(fg_shared_state_add_script(f->state, "return 2", 8), 1);
    assert_string_equal(fg_shared_state_prefix(f->state), "fg");
}

static void on_reply(void *owner, enum fg_redis_outcome outcome, const redisReply *reply)
{
    struct fixture *f = owner;
    assert_null(reply);
    f->replies++;
    f->outcome = outcome;
}

static enum fg_status submit(struct fixture *f, struct fg_redis_link *link,
                             struct fg_redis_command **command)
{
    static const struct fg_span args[] = {{"key", 3}};
    struct fg_redis_request request = {.is_script = true,
                                       .key_count = 1,
                                       .args = args,
                                       .arg_count = 1,
                                       .on_reply = on_reply,
                                       .owner = f};
    return fg_redis_link_submit(link, &request, command);
}

static const char *state_word(const json_t *stats)
{
    return json_string_value(json_object_get(stats, "state"));
}

static void nobody_waits_for_a_redis_that_is_away(void **state)
{
    struct fixture *f = *state;
    struct fg_redis_command *commands[3];
    uint64_t end_ns = fg_clock_monotonic_ns() + PATIENCE_NS;
    fg_shared_state_add_script(f->state, "return 1", 8);
    struct fg_redis_link *link = fg_shared_state_open(f->state, &f->env);
    assert_non_null(link);
    assert_int_equal(submit(f, link, &commands[0]), FG_OK); /* it may just be starting */
    assert_int_equal(submit(f, link, &commands[1]), FG_OK);
    assert_int_equal(submit(f, link, &commands[2]), FG_ERR_LIMIT);
    assert_int_equal(f->replies, 0);
    while (f->replies < 2 && fg_clock_monotonic_ns() < end_ns)
        event_base_loop(f->env.base, EVLOOP_ONCE);
    assert_int_equal(f->replies, 2);
    assert_int_equal(f->outcome, FG_REDIS_TIMEOUT);
    assert_int_equal(submit(f, link, &commands[0]), FG_ERR_CLOSED);
    json_t *stats = fg_shared_state_stats(f->state);
    assert_string_equal(state_word(stats), "disconnected");
    assert_int_equal(json_integer_value(json_object_get(stats, "timeouts")), 2);
    assert_int_equal(json_integer_value(json_object_get(stats, "refused_busy")), 1);
    json_decref(stats);
    fg_shared_state_close(link);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_malformed_address_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scripts_are_numbered_in_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_waits_for_a_redis_that_is_away, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
