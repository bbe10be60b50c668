/*
 * test_cluster_limits_shared.c: no interleaving of loops takes one too many, loses a place, or
 * leaves a loop that wants a connection untold.
 */
#include "proxy/cluster_limits_shared.h"

#include "base/clock.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define THREADS 4
#define ROUNDS 3000
#define LIMIT 3

static struct fg_cluster_conf conf_of(uint32_t connections, uint32_t requests, uint32_t retries)
{
    return (struct fg_cluster_conf){
        .max_connections = connections,
        .limits = {.requests_max = requests, .pending_max = 8, .retries_max = retries}};
}

static void count_up(void *object)
{
    ++*(unsigned *)object;
}

static void each_limit_is_its_own(void **state)
{
    (void)state;
    struct fg_cluster_limits limits;
    struct fg_cluster_conf conf = conf_of(1, 2, 0);
    assert_true(fg_cluster_limits_init(&limits, &conf, 1));
    assert_true(fg_cluster_limits_try_take(&limits, FG_CLUSTER_CONNECTIONS));
    assert_false(fg_cluster_limits_try_take(&limits, FG_CLUSTER_CONNECTIONS));
    assert_true(fg_cluster_limits_try_take(&limits, FG_CLUSTER_REQUESTS));
    assert_true(fg_cluster_limits_try_take(&limits, FG_CLUSTER_REQUESTS));
    assert_false(fg_cluster_limits_try_take(&limits, FG_CLUSTER_REQUESTS));
    fg_cluster_limits_give(&limits, FG_CLUSTER_REQUESTS);
    assert_true(fg_cluster_limits_try_take(&limits, FG_CLUSTER_REQUESTS));
    for (unsigned i = 0; i < 100; i++) /* no limit but the budget */
        assert_true(fg_cluster_limits_try_take_retry(&limits, 100));
    assert_false(fg_cluster_limits_try_take_retry(&limits, 100));
    json_t *json = fg_cluster_limits_json(&limits);
    json_t *requests = json_object_get(json, "requests");
    assert_int_equal(json_integer_value(json_object_get(requests, "refused")), 1);
    assert_true(json_is_null(json_object_get(json_object_get(json, "retries"), "max")));
    json_decref(json);
    fg_cluster_limits_fini(&limits);
}

static void the_budget_binds_in_shadow_too(void **state)
{
    (void)state;
    struct fg_cluster_limits limits;
    struct fg_cluster_conf conf = conf_of(1, 1, 1);
    conf.limits.is_shadow = true;
    assert_true(fg_cluster_limits_init(&limits, &conf, 1));
    for (unsigned i = 0; i < 3; i++)
        assert_true(fg_cluster_limits_try_take_retry(&limits, 3)); /* above the limit of 1 */
    assert_false(fg_cluster_limits_try_take_retry(&limits, 3));
    assert_int_equal(fg_counter_get(&limits.limits[FG_CLUSTER_RETRIES].refused), 3);
    assert_int_equal(fg_cluster_limits_try_take(&limits, FG_CLUSTER_REQUESTS), FG_CLUSTER_TOOK);
    assert_int_equal(fg_cluster_limits_try_take(&limits, FG_CLUSTER_REQUESTS),
                     FG_CLUSTER_TOOK_OVER);
    assert_true(fg_cluster_limits_try_take(&limits, FG_CLUSTER_CONNECTIONS));
    assert_false(fg_cluster_limits_try_take(&limits, FG_CLUSTER_CONNECTIONS));
    fg_cluster_limits_fini(&limits);
}

static void who_wants_is_told_and_tells(void **state)
{
    (void)state;
    struct fg_mailbox boxes[2];
    unsigned told[2] = {0};
    struct fg_cluster_limits limits;
    struct fg_cluster_conf conf = conf_of(1, 0, 0);
    assert_true(fg_cluster_limits_init(&limits, &conf, 2));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(fg_mailbox_init(&boxes[i]), FG_OK);
        fg_cluster_limits_join(&limits, i, &boxes[i], count_up, &told[i]);
    }
    assert_true(fg_cluster_limits_try_take(&limits, FG_CLUSTER_CONNECTIONS));
    fg_cluster_limits_want(&limits, 1);
    fg_cluster_limits_want(&limits, 1);
    assert_true(fg_cluster_limits_is_wanted(&limits, 0));
    assert_false(fg_cluster_limits_is_wanted(&limits, 1)); /* by itself alone */
    fg_mailbox_drain(&boxes[0]);
    assert_int_equal(told[0], 1);
    fg_cluster_limits_give_connection(&limits, 0);
    fg_mailbox_drain(&boxes[1]);
    assert_int_equal(told[1], 1);
    assert_true(fg_cluster_limits_try_take(&limits, FG_CLUSTER_CONNECTIONS));
    fg_cluster_limits_want_no_more(&limits, 1);
    assert_false(fg_cluster_limits_is_wanted(&limits, 0));
    fg_cluster_limits_give_connection(&limits, 1);
    for (unsigned i = 0; i < 2; i++) {
        fg_mailbox_drain(&boxes[i]);
        assert_int_equal(told[i], 1); /* nobody wants any */
        fg_mailbox_fini(&boxes[i]);
    }
    fg_cluster_limits_fini(&limits);
}

/* ---- many threads ---- */

static struct fg_cluster_limits shared;
static struct fg_counter gone;
static const struct fg_give_way_need within = {.held = 1};

static void *ask_to_stay(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 1000; i++) {
        if (fg_cluster_limits_give_way(&shared, 20 * FG_S, 1, within))
            fg_counter_add(&gone, 1);
    }
    return NULL;
}

/* Whatever loops their stalled answers are on. */
static void as_many_give_way_as_wait(void **state)
{
    (void)state;
    struct fg_cluster_conf conf = conf_of(2, 100, 100);
    pthread_t threads[4];
    conf.slow_reader_max_ns = FG_S;
    conf.slow_reader_permille = 100;
    conf.limits.pending_max = 10;
    assert_true(fg_cluster_limits_init(&shared, &conf, 1));
    assert_false(fg_cluster_limits_give_way(&shared, 20 * FG_S, 1, within)); /* nobody waits */
    assert_true(fg_cluster_limits_give_way(&shared, 20 * FG_S, 1,
                                           (struct fg_give_way_need){.is_short = true, .held = 9}));
    for (unsigned i = 0; i < 3; i++)
        assert_true(fg_cluster_limits_try_take(&shared, FG_CLUSTER_PENDING));
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_to_stay, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(fg_counter_get(&gone), 3);
    fg_cluster_limits_give(&shared, FG_CLUSTER_PENDING); /* one has his place */
    assert_false(fg_cluster_limits_give_way(&shared, 20 * FG_S, 1, within));
    fg_cluster_limits_fini(&shared);
}

static struct fg_counter inside;

struct user {
    pthread_t thread;
    unsigned index;
    struct fg_mailbox box;
    bool is_told;
};

static void on_told(void *object)
{
    ((struct user *)object)->is_told = true;
}

/* As a loop does it: none left, so say that one is wanted, look again, wait to be told. */
static void take_connection(struct user *user)
{
    while (!fg_cluster_limits_try_take(&shared, FG_CLUSTER_CONNECTIONS)) {
        fg_cluster_limits_want(&shared, user->index);
        user->is_told = fg_cluster_limits_try_take(&shared, FG_CLUSTER_CONNECTIONS);
        bool has_one = user->is_told;
        while (!user->is_told) {
            struct pollfd fd = {.fd = user->box.event_fd, .events = POLLIN};
            assert_int_equal(poll(&fd, 1, 60000), 1); /* never forgotten */
            fg_mailbox_drain(&user->box);
        }
        if (has_one)
            break;
    }
    fg_cluster_limits_want_no_more(&shared, user->index);
}

static void *use_connections(void *arg)
{
    struct user *user = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        take_connection(user);
        fg_counter_add(&inside, 1);
        assert_true(fg_counter_get(&inside) <= LIMIT);
        fg_counter_sub(&inside, 1);
        fg_cluster_limits_give_connection(&shared, user->index);
        if (fg_cluster_limits_try_take(&shared, FG_CLUSTER_REQUESTS)) {
            assert_true(fg_limit_used(&shared.limits[FG_CLUSTER_REQUESTS]) <= LIMIT);
            fg_cluster_limits_give(&shared, FG_CLUSTER_REQUESTS);
        }
        if (fg_cluster_limits_try_take_retry(&shared, 2)) {
            assert_true(fg_limit_used(&shared.limits[FG_CLUSTER_RETRIES]) <= 2);
            fg_cluster_limits_give(&shared, FG_CLUSTER_RETRIES);
        }
        fg_mailbox_drain(&user->box);
    }
    return NULL;
}

static void never_one_too_many_and_nobody_forgotten(void **state)
{
    (void)state;
    struct user users[THREADS] = {0};
    struct fg_cluster_conf conf = conf_of(LIMIT, LIMIT, LIMIT);
    assert_true(fg_cluster_limits_init(&shared, &conf, THREADS));
    for (unsigned i = 0; i < THREADS; i++) {
        users[i].index = i;
        assert_int_equal(fg_mailbox_init(&users[i].box), FG_OK);
        fg_cluster_limits_join(&shared, i, &users[i].box, on_told, &users[i]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&users[i].thread, NULL, use_connections, &users[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(users[i].thread, NULL);
    for (unsigned i = 0; i < FG_CLUSTER_LIMIT_COUNT; i++) {
        assert_int_equal(fg_limit_used(&shared.limits[i]), 0);
        assert_true(fg_counter_get(&shared.limits[i].most) <= LIMIT);
    }
    for (unsigned i = 0; i < THREADS; i++)
        fg_mailbox_fini(&users[i].box);
    fg_cluster_limits_fini(&shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_limit_is_its_own),
        cmocka_unit_test(the_budget_binds_in_shadow_too),
        cmocka_unit_test(who_wants_is_told_and_tells),
        cmocka_unit_test(as_many_give_way_as_wait),
        cmocka_unit_test(never_one_too_many_and_nobody_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
