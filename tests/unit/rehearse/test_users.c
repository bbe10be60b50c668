/*
 * test_users.c: arrivals, journeys, patience and retries against a port that answers as it is told.
 */
#include "base/clock.h"
#include "rehearse/users.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#define CALLS_MAX 64

struct fixture {
    struct fg_route_conf routes[2];
    struct fg_config config;
    struct fg_scenario_point points[2];
    struct fg_scenario_step steps[2];
    struct fg_scenario_crowd crowd;
    struct fg_scenario scenario;
    struct fg_event_heap heap;
    struct fg_tally *tally;
    struct fg_users *users;
    /* the port */
    struct fg_call calls[CALLS_MAX];
    size_t call_count;
    size_t abandoned;
};

static void on_send(void *object, const struct fg_call *call, uint64_t now_ns)
{
    struct fixture *f = object;
    assert_true(call->due_ns == now_ns);
    if (f->call_count < CALLS_MAX)
        f->calls[f->call_count] = *call;
    f->call_count++;
}

static void on_abandon(void *object, uint32_t user, uint64_t now_ns)
{
    (void)user;
    (void)now_ns;
    ((struct fixture *)object)->abandoned++;
}

/* One user at 1 s, two steps, patience 2 s, three tries a second apart and doubling. */
static struct fixture *open_fixture(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->config = (struct fg_config){.routes = f->routes, .route_count = 2};
    f->points[0] = (struct fg_scenario_point){.at_ns = FG_S, .per_s = 1000};
    f->points[1] = (struct fg_scenario_point){.at_ns = 2 * FG_S, .per_s = 1000};
    f->steps[0] = (struct fg_scenario_step){
        .route = &f->routes[0], .share_permille = 1000, .times = 2, .is_optional = true};
    f->steps[1] = (struct fg_scenario_step){
        .route = &f->routes[1], .share_permille = 1000, .times = 1, .is_goal = true};
    f->crowd = (struct fg_scenario_crowd){
        .name = "one",
        .users_max = 1,
        .arrivals = f->points,
        .arrival_count = 2,
        .steps = f->steps,
        .step_count = 2,
        .patience_ns = 2 * FG_S,
        .line_patience_ns = 60 * FG_S,
        .users_per_address = 1,
        .retry = {.attempts = 3,
                  .delay_ns = FG_S,
                  .delay_max_ns = 60 * FG_S,
                  .growth_permille = 2000,
                  .respects_retry_after = true},
    };
    f->scenario = (struct fg_scenario){
        .name = "t", .duration_ns = 600 * FG_S, .seed = 1, .crowds = &f->crowd, .crowd_count = 1};
    return f;
}

static void begin(struct fixture *f)
{
    struct fg_users_port port = {.object = f, .send = on_send, .abandon = on_abandon};
    f->tally = fg_tally_create(&f->scenario, &f->config, 10);
    assert_non_null(f->tally);
    f->users = fg_users_create(&f->scenario, &f->config, &f->heap, f->tally, &port);
    assert_non_null(f->users);
}

static void run_until(struct fixture *f, uint64_t until_ns)
{
    struct fg_event event;
    while (f->heap.count > 0 && f->heap.events[0].at_ns <= until_ns) {
        assert_true(fg_event_heap_take(&f->heap, &event));
        fg_users_on_event(f->users, &event);
    }
}

static void answer(struct fixture *f, uint64_t now_ns, struct fg_answer answer)
{
    fg_users_answer(f->users, f->calls[f->call_count - 1].user, now_ns, &answer);
}

static void close_fixture(struct fixture *f)
{
    fg_users_destroy(f->users);
    fg_tally_destroy(f->tally);
    fg_event_heap_fini(&f->heap);
    free(f);
}

static const struct fg_answer good = {.outcome = FG_OUTCOME_GOOD};

static void goes_its_journey_step_by_step(void **state)
{
    (void)state;
    struct fixture *f = open_fixture();
    begin(f);
    run_until(f, 2 * FG_S);
    assert_int_equal(f->call_count, 1);
    uint64_t arrived_ns = f->calls[0].due_ns;
    assert_in_range(arrived_ns, FG_S, 2 * FG_S);
    answer(f, arrived_ns + FG_MS, good);
    run_until(f, 3 * FG_S);
    assert_int_equal(f->call_count, 2);
    assert_ptr_equal(f->calls[1].step, &f->steps[0]); /* it is asked twice */
    answer(f, f->calls[1].due_ns + FG_MS, good);
    run_until(f, 3 * FG_S);
    assert_ptr_equal(f->calls[2].step, &f->steps[1]);
    answer(f, f->calls[2].due_ns + FG_MS, good);
    assert_int_equal(f->tally->crowds[0].reached, 1);
    assert_int_equal(f->tally->crowds[0].finished, 1);
    assert_int_equal(fg_users_active(f->users), 0);
    assert_int_equal(f->tally->routes[0].outcomes[FG_OUTCOME_GOOD], 2);
    close_fixture(f);
}

static void loses_patience_and_tries_again_with_back_off(void **state)
{
    (void)state;
    struct fixture *f = open_fixture();
    f->steps[0].is_optional = false;
    begin(f);
    run_until(f, 100 * FG_S); /* nobody ever answers */
    assert_int_equal(f->call_count, 3);
    assert_int_equal(f->abandoned, 3);
    assert_true(f->calls[1].due_ns - f->calls[0].due_ns == 3 * FG_S); /* patience and 1 s */
    assert_true(f->calls[2].due_ns - f->calls[1].due_ns == 4 * FG_S); /* ... and 2 s */
    assert_int_equal(f->tally->routes[0].outcomes[FG_OUTCOME_GAVE_UP], 3);
    assert_int_equal(f->tally->routes[0].retries, 2);
    assert_int_equal(f->tally->crowds[0].left, 1);
    close_fixture(f);
}

static void heeds_retry_after_and_goes_on_after_an_optional_step(void **state)
{
    (void)state;
    struct fixture *f = open_fixture();
    begin(f);
    run_until(f, 2 * FG_S);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(f->call_count, i + 1);
        answer(f, f->calls[i].due_ns,
               (struct fg_answer){.outcome = FG_OUTCOME_REFUSED,
                                  .reason = FG_REFUSED_RATE_LIMIT,
                                  .retry_after_ns = 10 * FG_S});
        run_until(f, f->calls[i].due_ns + 10 * FG_S);
    }
    assert_true(f->calls[1].due_ns - f->calls[0].due_ns == 10 * FG_S);
    assert_int_equal(f->tally->routes[0].refused[FG_REFUSED_RATE_LIMIT], 3);
    assert_ptr_equal(f->calls[3].step, &f->steps[1]);
    close_fixture(f);
}

static void keeps_its_place_in_line_until_its_patience_there_ends(void **state)
{
    (void)state;
    struct fixture *f = open_fixture();
    begin(f);
    run_until(f, 2 * FG_S);
    for (unsigned i = 0; i < 4; i++) { /* at 0, 20, 40 and 60 s of waiting */
        assert_int_equal(f->call_count, i + 1);
        assert_true(f->calls[i].has_ticket == (i > 0));
        assert_true(i == 0 || f->calls[i].ticket == 77);
        answer(f, f->calls[i].due_ns,
               (struct fg_answer){
                   .outcome = FG_OUTCOME_IN_LINE, .ticket = 77, .retry_after_ns = 20 * FG_S});
        run_until(f, f->calls[i].due_ns + 20 * FG_S);
    }
    assert_int_equal(f->call_count, 4);
    assert_int_equal(f->tally->crowds[0].left, 1);
    assert_int_equal(f->tally->crowds[0].in_line, 1);
    assert_true(fg_counter_get(&f->tally->crowds[0].line_ms.count) == 0); /* it was never let in */
    close_fixture(f);
}

static void the_time_in_line_ends_when_it_is_let_in(void **state)
{
    (void)state;
    struct fixture *f = open_fixture();
    begin(f);
    run_until(f, 2 * FG_S);
    uint64_t came_ns = f->calls[0].due_ns;
    answer(f, came_ns,
           (struct fg_answer){.outcome = FG_OUTCOME_IN_LINE, .retry_after_ns = 20 * FG_S});
    run_until(f, came_ns + 20 * FG_S);
    answer(f, came_ns + 20 * FG_S, good);
    assert_true(fg_counter_get(&f->tally->crowds[0].line_ms.count) == 1);
    assert_in_range(fg_histogram_quantile(&f->tally->crowds[0].line_ms, 5000), 19800, 20200);
    run_until(f, came_ns + 21 * FG_S);
    assert_false(f->calls[2].has_ticket);
    close_fixture(f);
}

static void arrivals_follow_the_rate(void **state)
{
    (void)state;
    struct fixture *f = open_fixture();
    f->crowd.users_max = 1000000;
    f->points[1].per_s = 3000; /* 1000/s at 1 s, 3000/s from 2 s on: 2000 in that second */
    begin(f);
    run_until(f, 2 * FG_S);
    assert_in_range(f->tally->crowds[0].arrived, 1800, 2200);
    run_until(f, 3 * FG_S);
    assert_in_range(f->tally->crowds[0].arrived, 4700, 5300);
    close_fixture(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_its_journey_step_by_step),
        cmocka_unit_test(loses_patience_and_tries_again_with_back_off),
        cmocka_unit_test(heeds_retry_after_and_goes_on_after_an_optional_step),
        cmocka_unit_test(keeps_its_place_in_line_until_its_patience_there_ends),
        cmocka_unit_test(the_time_in_line_ends_when_it_is_let_in),
        cmocka_unit_test(arrivals_follow_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
