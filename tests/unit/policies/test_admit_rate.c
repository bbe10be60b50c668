/*
 * test_admit_rate.c: the pace finds what a backend can do, follows it when that changes, and never
 * stands still for good. The backend here is a model of one line: so many a second, the rest waits.
 */
#include "policies/admit_rate.h"
#include "policy_test.h"

#include <math.h>

#define SLOTS 8

struct model {
    struct fg_admit_rate rate;
    double capacity_per_s;
    double requests_each; /* of one person */
    double backlog;       /* requests that wait for a slot */
    uint64_t now_ns;
};

static void begin(struct model *model, double capacity_per_s)
{
    *model = (struct model){.capacity_per_s = capacity_per_s, .requests_each = 1};
    fg_admit_rate_init(&model->rate, SLOTS, 0);
}

/* A second in which all who are let in come; those beyond a second of backlog are refused. */
static void pass_second(struct model *model, struct fg_admit_sample more)
{
    double came = model->rate.per_s;
    double asked = came * model->requests_each + model->backlog;
    double done = asked < model->capacity_per_s ? asked : model->capacity_per_s;
    double most = 1 * model->capacity_per_s;
    model->backlog = asked - done;
    more.refused = model->backlog > most ? (uint64_t)(model->backlog - most) : 0;
    model->backlog = model->backlog > most ? most : model->backlog;
    more.done = (uint64_t)(done + 0.5);
    more.came = (uint64_t)(came + 0.5);
    more.limit = SLOTS;
    more.in_flight = asked >= model->capacity_per_s ? SLOTS : SLOTS / 2;
    more.queued = (uint32_t)model->backlog;
    model->now_ns += S;
    (void)fg_admit_rate_step(&model->rate, model->now_ns, &more);
}

static const struct fg_admit_sample in_line = {.has_line = true};

static void run(struct model *model, unsigned seconds)
{
    for (unsigned i = 0; i < seconds; i++)
        pass_second(model, in_line);
}

static void finds_what_the_backend_can_do(void **state)
{
    (void)state;
    static const double capacities[] = {20, 400, 50000};
    for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
        struct model model;
        begin(&model, capacities[i]);
        run(&model, 60);
        double served = 0;
        for (unsigned s = 0; s < 60; s++) {
            pass_second(&model, in_line);
            served += model.rate.per_s;
            assert_true(model.backlog < 0.5 * capacities[i]);
        }
        assert_true(served / 60 > 0.9 * capacities[i] && served / 60 < 1.1 * capacities[i]);
        assert_true(model.rate.drain_per_s > 0.95 * capacities[i]);
    }
}

static void follows_when_it_changes(void **state)
{
    (void)state;
    struct model model;
    begin(&model, 400);
    run(&model, 60);
    model.capacity_per_s = 50;
    run(&model, 10);
    assert_true(model.rate.per_s < 80);
    run(&model, 110);
    assert_true(model.rate.per_s > 40 && model.rate.per_s < 60);
    assert_true(model.backlog < 25);
    model.capacity_per_s = 800; /* it may have been a mistake: 2 % a second */
    run(&model, 150);
    assert_true(model.rate.per_s > 700 && model.rate.per_s < 900);
}

static void counts_people_not_requests(void **state)
{
    (void)state;
    struct model model;
    begin(&model, 400);
    model.requests_each = 10;
    run(&model, 120);
    assert_true(model.rate.need > 9 && model.rate.need < 11);
    assert_true(model.rate.per_s > 35 && model.rate.per_s < 45);
}

static void holds_the_door_until_a_slow_backend_is_known(void **state)
{
    (void)state;
    struct fg_admit_rate rate;
    fg_admit_rate_init(&rate, 48, 0);
    struct fg_admit_sample sample = {
        .came = 48, .in_flight = 48, .limit = 48, .queued = 5, .has_line = true};
    (void)fg_admit_rate_step(&rate, S, &sample);
    assert_true(rate.per_s <= 0.1);
    sample.came = 0;
    sample.done = 2; /* two a second */
    for (uint64_t at = 2; at < 7; at++)
        (void)fg_admit_rate_step(&rate, at * S, &sample);
    assert_true(rate.drain_per_s > 1.2 && rate.drain_per_s < 2.1);
    assert_true(rate.per_s > 0 && rate.per_s < 2.1);
}

static void trouble_makes_it_slower_and_never_shuts_it(void **state)
{
    (void)state;
    struct model model;
    begin(&model, 400);
    run(&model, 60);
    double before = model.rate.per_s;
    pass_second(&model, (struct fg_admit_sample){.has_line = true, .is_pressed = true});
    assert_true(model.rate.per_s < 0.75 * before);
    for (unsigned i = 0; i < 100; i++)
        pass_second(&model, (struct fg_admit_sample){.has_line = true, .is_shut = true});
    assert_true(model.rate.per_s > 0.09 && model.rate.per_s < 0.11);
    run(&model, 600); /* and it comes back */
    assert_true(model.rate.per_s > 0.8 * 400);
}

static void does_not_grow_for_people_who_do_not_come(void **state)
{
    (void)state;
    struct fg_admit_rate rate;
    fg_admit_rate_init(&rate, SLOTS, 0);
    const struct fg_admit_sample nobody = {.limit = SLOTS, .has_line = true};
    for (uint64_t at = 1; at < 100; at++)
        (void)fg_admit_rate_step(&rate, at * S, &nobody);
    assert_true(rate.per_s <= SLOTS);
    const struct fg_admit_sample no_line = {.came = 5, .done = 5, .limit = SLOTS};
    double before = rate.per_s;
    for (uint64_t at = 100; at < 200; at++)
        (void)fg_admit_rate_step(&rate, at * S, &no_line);
    assert_true(rate.per_s == before);
}

static void clocks_and_numbers_at_their_ends(void **state)
{
    (void)state;
    struct fg_admit_rate rate;
    struct fg_admit_sample sample = {.done = UINT64_MAX,
                                     .came = UINT64_MAX,
                                     .in_flight = UINT32_MAX,
                                     .limit = 1,
                                     .queued = UINT32_MAX,
                                     .has_line = true};
    fg_admit_rate_init(&rate, 0, 10 * S);
    assert_true(fg_admit_rate_step(&rate, 9 * S, &sample) == 1); /* back: no step */
    for (uint64_t at = 11; at < 20; at++)
        assert_true(fg_admit_rate_step(&rate, at * YEAR, &sample) <= 1e9);
    sample = (struct fg_admit_sample){.has_line = true};
    for (uint64_t at = 21; at < 60; at++)
        assert_true(fg_admit_rate_step(&rate, at * YEAR, &sample) >= 0.1);
    assert_int_equal(fg_admit_rate_amount(0.1), 100);
    assert_int_equal(fg_admit_rate_burst(0.1), 1);
    assert_int_equal(fg_admit_rate_burst(250.7), 250);
}

/* Noise of any kind: the rate stays within its bounds and finite. */
static void any_samples(void **state)
{
    (void)state;
    uint64_t seed = test_seed(3), now_ns = 0;
    struct fg_admit_rate rate;
    fg_admit_rate_init(&rate, SLOTS, 0);
    for (unsigned i = 0; i < 100000; i++) {
        const struct fg_admit_sample sample = {.done = test_below(&seed, 1000),
                                               .came = test_below(&seed, 1000),
                                               .in_flight = (uint32_t)test_below(&seed, 20),
                                               .limit = (uint32_t)test_below(&seed, 20),
                                               .queued = (uint32_t)test_below(&seed, 100),
                                               .refused =
                                                   test_below(&seed, 4) * test_below(&seed, 500),
                                               .service_ns = test_below(&seed, 2 * S),
                                               .is_shut = test_below(&seed, 8) == 0,
                                               .is_pressed = test_below(&seed, 8) == 0,
                                               .has_line = test_below(&seed, 2) == 0};
        now_ns += test_below(&seed, 3 * S);
        double per_s = fg_admit_rate_step(&rate, now_ns, &sample);
        assert_true(per_s >= 0.1 && per_s <= 1e9);
    }
}

static void goes_on_with_what_was_learned(void **state)
{
    (void)state;
    struct model model;
    begin(&model, 400);
    run(&model, 120);
    struct fg_admit_rate learned = model.rate, next = {.per_s = 0};
    assert_true(fg_admit_rate_resume(&next, &learned, 7 * S)); /* another machine's clock */
    assert_true(next.per_s > 300 && next.per_s == learned.per_s);
    assert_int_equal(next.updated_ns, 7 * S);
    model.rate = next;
    model.now_ns = 7 * S;
    run(&model, 2);
    assert_true(model.rate.per_s > 300 && model.rate.per_s < 500);
    /* what a file may hold: nothing, or rubbish */
    const struct fg_admit_rate nothing = {.per_s = 0};
    assert_false(fg_admit_rate_resume(&next, &nothing, 8 * S));
    double *const numbers[] = {&learned.per_s, &learned.drain_per_s, &learned.need,
                               &learned.first_per_s, &learned.done_sum};
    static const double rubbish[] = {-1, 1e300, (double)NAN, (double)INFINITY};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        for (size_t j = 0; j < 4; j++) {
            double was = *numbers[i];
            *numbers[i] = rubbish[j];
            assert_false(fg_admit_rate_resume(&next, &learned, 8 * S));
            *numbers[i] = was;
        }
    }
    assert_true(fg_admit_rate_resume(&next, &learned, 8 * S));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_the_backend_can_do),
        cmocka_unit_test(follows_when_it_changes),
        cmocka_unit_test(counts_people_not_requests),
        cmocka_unit_test(holds_the_door_until_a_slow_backend_is_known),
        cmocka_unit_test(trouble_makes_it_slower_and_never_shuts_it),
        cmocka_unit_test(does_not_grow_for_people_who_do_not_come),
        cmocka_unit_test(clocks_and_numbers_at_their_ends),
        cmocka_unit_test(goes_on_with_what_was_learned),
        cmocka_unit_test(any_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
