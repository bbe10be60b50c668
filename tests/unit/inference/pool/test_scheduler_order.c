/*
 * test_scheduler_order.c: whose turn it is: class and lot, work, deadlines and waits, for
 * admission, for prompts in a step and for who gives blocks back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "scheduler_fixture.h"

#include "base/clock.h"

/* A request of a user of its own, of normal priority and the given lot. */
static void submit_lot(struct fixture *f, uint64_t id, uint32_t prompt_count, uint32_t max_tokens,
                       uint32_t lot)
{
    struct fg_channel_submit *s = a_submit(max_tokens);
    s->user_hash = 1000 + id;
    s->priority_number = a_number(FG_PRIORITY_NORMAL, lot);
    submit_as(f, id, prompt_count, s);
}

static void the_lot_decides_between_users_of_one_class(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    start(f);
    const uint32_t lots[] = {90, 5, 127, 40};
    const int turns[] = {2, 0, 3, 1};
    for (uint64_t id = 1; id <= 4; id++)
        submit_lot(f, id, 4, 2, lots[id - 1]);
    run_dry(f);
    for (uint64_t id = 1; id <= 4; id++)
        assert_int_equal(f->outcomes[id].order, turns[id - 1]);
}

static void no_lot_outweighs_a_class(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    start(f);
    struct fg_channel_submit *s = a_submit(2);
    s->priority_number = a_number(FG_PRIORITY_NORMAL, 0);
    submit_as(f, 1, 4, s);
    s->priority_number = a_number(FG_PRIORITY_HIGH, 127);
    submit_as(f, 2, 4, s);
    run_dry(f);
    assert_int_equal(f->outcomes[2].order, 0);
}

static void who_had_much_more_work_goes_after_whatever_his_lot(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    f->conf.kv_bytes = 128 * fg_kv_block_bytes(&fixture_shape);
    start(f);
    for (uint64_t id = 1; id <= 4; id++) {
        struct fg_channel_submit *s = a_submit(4);
        s->priority_number = a_number(FG_PRIORITY_NORMAL, id == 2 ? 100 : 0);
        s->user_hash = id == 2 ? 8 : 7;
        submit_as(f, id, id % 2 == 1 ? 400 : 4, s);
    }
    /* 1 was 408 of work, within a quantum; with 3, which has the lot before 2, that is used up. */
    run_dry(f);
    assert_int_equal(f->outcomes[1].order, 0);
    assert_int_equal(f->outcomes[3].order, 1);
    assert_int_equal(f->outcomes[2].order, 2);
    assert_int_equal(f->outcomes[4].order, 3);
}

/* Who had much of one worker goes after others at the next. */
static void work_counts_for_all_workers(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    f->conf.kv_bytes = 256 * fg_kv_block_bytes(&fixture_shape);
    start(f);
    start_other(f);
    uint32_t prompt[400] = {0};
    struct fg_channel_submit *s = a_submit(20);
    s->user_hash = 8;
    submit_as(f, 10, 4, s); /* 8's; it takes the place here */
    assert_true(fg_scheduler_step(f->scheduler));
    s = a_submit(200);
    s->user_hash = 7;
    submit_tokens(f, f->other, 1, prompt, 300, s); /* 7's, and still at work there */
    for (int i = 0; i < 150; i++)
        assert_true(fg_scheduler_step(f->other));
    for (uint64_t id = 21; id <= 22; id++) { /* 7 asks before 8 */
        s = a_submit(4);
        s->user_hash = id == 21 ? 7 : 8;
        submit_as(f, id, 4, s);
    }
    run_dry(f);
    assert_true(f->outcomes[22].order < f->outcomes[21].order);
    while (fg_scheduler_step(f->other))
        clock_now += FG_MS;
    assert_true(f->outcomes[1].is_done);
}

static void who_has_less_time_ages_faster(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    start(f);
    submit(f, 1, 4, 3);
    assert_true(fg_scheduler_step(f->scheduler));
    submit_lot(f, 2, 4, 2, 60);
    struct fg_channel_submit *s = a_submit(2);
    s->user_hash = 5;
    s->priority_number = a_number(FG_PRIORITY_NORMAL, 100);
    s->deadline_ns = clock_now + 4 * FG_S;
    submit_as(f, 3, 4, s);
    clock_now += FG_S; /* 3 has used a quarter of its time, 2 a tenth */
    run_dry(f);
    assert_true(f->outcomes[3].order < f->outcomes[2].order);
}

/* One that is always the worst off, while a better one comes for each that ends. */
static void nobody_starves(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    f->conf.waiting_max = 4;
    start(f);
    struct fg_channel_submit *s = a_submit(2);
    s->priority_number = a_number(FG_PRIORITY_LOW, 127);
    s->user_hash = 3;
    submit_lot(f, 1, 4, 2, 0);
    submit_as(f, 2, 4, s);
    uint64_t began_ns = clock_now;
    for (uint64_t id = 3; !f->outcomes[2].is_done; id++) {
        submit_lot(f, id, 4, 2, 0);
        while (!f->outcomes[id - 1].is_done && !f->outcomes[2].is_done) {
            assert_true(fg_scheduler_step(f->scheduler));
            clock_now += 100 * FG_MS;
            assert_false(f->outcomes[2].is_refused);
            if (id == 3 && f->outcomes[1].is_done)
                break;
        }
        assert_true(clock_now - began_ns < f->conf.wait_max_ns);
    }
}

/* A wait is worth a place in front of those who wait, not one of those who run. */
static void a_long_wait_stops_nobody_who_runs(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    start(f);
    submit_lot(f, 1, 4, 30, 100);
    assert_true(fg_scheduler_step(f->scheduler));
    struct fg_channel_submit *s = a_submit(2);
    s->user_hash = 9;
    s->priority_number = a_number(FG_PRIORITY_LOW, 0);
    submit_as(f, 2, 4, s);
    submit_lot(f, 3, 4, 2, 0);
    clock_now += 9 * FG_S; /* both count as high by now, the one that runs as normal */
    for (int i = 0; i < 5; i++)
        assert_true(fg_scheduler_step(f->scheduler));
    assert_int_equal(fg_counter_get(&fg_kv_arena_worker(f->arena, 1)->preemptions), 0);
    run_dry(f);
    assert_int_equal(f->outcomes[1].order, 0);
    for (uint64_t id = 2; id <= 3; id++)
        assert_true(f->outcomes[id].is_done);
}

static void a_better_number_takes_the_last_place_of_a_full_queue(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    f->conf.waiting_max = 2;
    start(f);
    submit_lot(f, 1, 4, 9, 50);
    assert_true(fg_scheduler_step(f->scheduler));
    submit_lot(f, 2, 4, 2, 70);
    submit_lot(f, 3, 4, 2, 60);
    submit_lot(f, 4, 4, 2, 70); /* no better than the last one: refused */
    assert_int_equal(f->outcomes[4].refused.reason, FG_REFUSAL_QUEUE_FULL);
    submit_lot(f, 5, 4, 2, 10);
    assert_int_equal(f->outcomes[2].refused.reason, FG_REFUSAL_QUEUE_FULL);
    assert_in_range(f->outcomes[2].refused.retry_after_ms, 100, 60000);
    submit_lot(f, 6, 4, 2, 0);
    assert_true(f->outcomes[3].is_refused);
    run_dry(f);
    assert_true(f->outcomes[1].is_done); /* one that runs is not touched */
    assert_true(f->outcomes[6].order < f->outcomes[5].order);
}

static void prompts_of_better_numbers_are_read_first(void **state)
{
    struct fixture *f = *state;
    start(f);
    submit_lot(f, 1, 40, 2, 80);
    submit_lot(f, 2, 40, 2, 3);
    submit_lot(f, 3, 40, 2, 20);
    assert_true(fg_scheduler_step(f->scheduler));
    const struct fake_step *step = &f->executor.steps[0];
    assert_int_equal(step->run_count, 2); /* 16 of the second, 16 of the third */
    run_dry(f);
    assert_true(f->outcomes[2].order < f->outcomes[3].order);
    assert_true(f->outcomes[3].order < f->outcomes[1].order);
}

static void the_least_number_gives_its_blocks_back(void **state)
{
    struct fixture *f = *state;
    f->conf.admission = FG_KV_ADMIT_PEAK;
    f->conf.batch_max = 3;
    f->conf.kv_bytes = 12 * fg_kv_block_bytes(&fixture_shape);
    start(f);
    const uint32_t lots[] = {20, 90, 40};
    for (uint64_t id = 1; id <= 3; id++)
        submit_lot(f, id, 31, 33, lots[id - 1]);
    assert_true(fg_scheduler_step(f->scheduler));
    assert_int_equal(fg_scheduler_running(f->scheduler), 3);
    /* Another worker takes what the forecast had counted on. */
    struct fg_kv_sequence_info info = {0};
    struct fg_kv_sequence_id other;
    uint32_t blocks[12];
    uint32_t count = (uint32_t)free_blocks(f);
    assert_int_equal(fg_kv_arena_sequence_open(f->arena, 0, &info, &other), FG_OK);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, other, count, blocks), FG_OK);
    struct fg_kv_worker_record *record = fg_kv_arena_worker(f->arena, 1);
    while (fg_counter_get(&record->preemptions) == 0)
        assert_true(fg_scheduler_step(f->scheduler));
    while (!f->outcomes[1].is_done || !f->outcomes[3].is_done) {
        assert_true(fg_scheduler_step(f->scheduler));
        assert_false(f->outcomes[2].is_done); /* it was 2 that gave way */
    }
    fg_kv_arena_sequence_close(f->arena, other);
    run_dry(f);
    assert_true(f->outcomes[2].is_done);
    assert_int_equal(f->outcomes[2].token_count, 33);
}

int main(void)
{
#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(the_lot_decides_between_users_of_one_class),
        WITH_FIXTURE(no_lot_outweighs_a_class),
        WITH_FIXTURE(who_had_much_more_work_goes_after_whatever_his_lot),
        WITH_FIXTURE(work_counts_for_all_workers),
        WITH_FIXTURE(who_has_less_time_ages_faster),
        WITH_FIXTURE(nobody_starves),
        WITH_FIXTURE(a_long_wait_stops_nobody_who_runs),
        WITH_FIXTURE(a_better_number_takes_the_last_place_of_a_full_queue),
        WITH_FIXTURE(prompts_of_better_numbers_are_read_first),
        WITH_FIXTURE(the_least_number_gives_its_blocks_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
