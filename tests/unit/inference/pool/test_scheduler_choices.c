/*
 * test_scheduler_choices.c: several choices of one request: one prompt, a seed each, memory for all
 * of them, and no difference to asking one by one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "scheduler_fixture.h"

#include "base/clock.h"

#include <string.h>

static struct fg_channel_submit *choices(uint32_t count, uint32_t max_tokens)
{
    struct fg_channel_submit *s = a_submit(max_tokens);
    s->choice_count = count;
    s->stream_key = 0xabc001;
    s->cache_salt = 1;
    s->sampling = (struct fg_sampling){.temperature = 1.5f, .top_p = 0.95f, .seed = 42};
    return s;
}

static struct fg_kv_worker_record *record_of(struct fixture *f)
{
    return fg_kv_arena_worker(f->arena, 1);
}

/* What the choice says when it is asked for by itself, with a seed of its own. */
static struct outcome alone(struct fixture *f, uint32_t prompt_count, uint32_t max_tokens,
                            uint32_t choice)
{
    start(f);
    struct fg_channel_submit *s = choices(1, max_tokens);
    s->sampling.seed += choice;
    submit_as(f, 1, prompt_count, s);
    run_dry(f);
    assert_true(f->outcomes[1].is_done);
    return f->outcomes[1];
}

/* Whatever the length of the prompt: within a block, a block, over it. */
static void each_says_what_it_says_alone(void **state)
{
    struct fixture *f = *state;
    const uint32_t lengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 50};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct outcome want[3];
        f->conf.admission = FG_KV_ADMIT_RESERVE;
        for (uint32_t c = 0; c < 3; c++)
            want[c] = alone(f, lengths[i], 20, c);
        for (int mode = 0; mode < 4; mode++) {
            f->conf.admission = mode % 2 == 0 ? FG_KV_ADMIT_PEAK : FG_KV_ADMIT_RESERVE;
            f->conf.prefix_sharing = mode < 2 ? FG_PREFIX_TENANT : FG_PREFIX_OFF;
            start(f);
            submit_as(f, 1, lengths[i], choices(3, 20));
            run_dry(f);
            for (uint32_t c = 0; c < 3; c++)
                assert_same_outcome(&f->outcomes[1 + c], &want[c]);
            /* The prompt once, and its last token once for each of the others. */
            assert_int_equal(fg_counter_get(&record_of(f)->tokens_prefill), lengths[i] + 2);
        }
        f->conf.prefix_sharing = FG_PREFIX_OFF;
    }
}

static void they_run_side_by_side(void **state)
{
    struct fixture *f = *state;
    start(f);
    submit_as(f, 1, 20, choices(4, 12));
    for (int i = 0; i < 6; i++)
        assert_true(fg_scheduler_step(f->scheduler));
    assert_int_equal(fg_scheduler_running(f->scheduler), 4);
    for (uint64_t id = 1; id <= 4; id++)
        assert_in_range(f->outcomes[id].token_count, 2, 5);
    run_dry(f);
    for (uint64_t id = 1; id <= 4; id++)
        assert_true(f->outcomes[id].is_done);
}

static void those_without_a_place_follow(void **state)
{
    struct fixture *f = *state;
    f->conf.admission = FG_KV_ADMIT_PEAK;
    f->conf.batch_max = 2;
    start(f);
    submit_as(f, 1, 40, choices(4, 8));
    run_dry(f);
    for (uint64_t id = 1; id <= 4; id++)
        assert_int_equal(f->outcomes[id].token_count, 8);
}

/* Three choices of 2 blocks in common and 3 of their own leave 5 of 16 blocks to others. */
static void memory_is_kept_for_all_of_them(void **state)
{
    struct fixture *f = *state;
    f->conf.admission = FG_KV_ADMIT_PEAK;
    f->conf.kv_bytes = 16 * fg_kv_block_bytes(&fixture_shape);
    f->conf.batch_max = 2;
    start(f);
    submit_as(f, 1, 40, choices(3, 40));
    while (f->outcomes[2].token_count == 0)
        assert_true(fg_scheduler_step(f->scheduler));
    assert_int_equal(fg_scheduler_running(f->scheduler), 2); /* the third has no place yet */
    start_other(f);
    uint32_t prompt[85] = {0};
    submit_tokens(f, f->other, 11, prompt, 85,
                  a_submit(40)); /* 8 blocks: it would fit beside two */
    assert_false(fg_scheduler_step(f->other));
    assert_int_equal(fg_scheduler_waiting(f->other), 1);
    struct fg_scheduler_key key = {1, 11};
    fg_scheduler_cancel(f->other, &key);
    submit_tokens(f, f->other, 12, prompt, 30, a_submit(40)); /* 5 */
    assert_true(fg_scheduler_step(f->other));
    while (fg_scheduler_step(f->scheduler) || fg_scheduler_step(f->other))
        clock_now += FG_MS;
    run_dry(f);
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(f->outcomes[id].token_count, 40);
    assert_int_equal(f->outcomes[12].token_count, 40);
    assert_int_equal(fg_counter_get(&record_of(f)->preemptions), 0); /* it all fitted */
}

/* The same where each takes all that it can need at once: 5 blocks, and 3 for each other one. */
static void memory_is_reserved_for_all_of_them(void **state)
{
    struct fixture *f = *state;
    f->conf.admission = FG_KV_ADMIT_RESERVE;
    f->conf.kv_bytes = 16 * fg_kv_block_bytes(&fixture_shape);
    f->conf.batch_max = 1;
    start(f);
    start_other(f);
    submit_as(f, 1, 40, choices(3, 40));
    assert_true(fg_scheduler_step(f->scheduler)); /* the others have no place yet */
    uint32_t prompt[100] = {0};
    submit_tokens(f, f->other, 11, prompt, 60, a_submit(40)); /* 7 blocks: free, but promised */
    assert_false(fg_scheduler_step(f->other));
    assert_int_equal(fg_scheduler_waiting(f->other), 1);
    struct fg_scheduler_key key = {1, 11};
    fg_scheduler_cancel(f->other, &key);
    submit_tokens(f, f->other, 12, prompt, 38, a_submit(40)); /* 5 */
    assert_true(fg_scheduler_step(f->other));
    while (fg_scheduler_step(f->scheduler) || fg_scheduler_step(f->other))
        clock_now += FG_MS;
    run_dry(f);
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(f->outcomes[id].token_count, 40);
    assert_int_equal(f->outcomes[12].token_count, 40);
    /* And they wait for it together: 11 blocks are not there beside 6. */
    uint32_t late[100] = {1};
    submit_tokens(f, f->other, 13, late, 56, a_submit(40));
    assert_true(fg_scheduler_step(f->other));
    submit_as(f, 21, 40, choices(3, 40));
    assert_false(fg_scheduler_step(f->scheduler));
    while (!f->outcomes[13].is_done)
        assert_true(fg_scheduler_step(f->other));
    run_dry(f);
    for (uint64_t id = 21; id <= 23; id++)
        assert_int_equal(f->outcomes[id].token_count, 40);
    assert_int_equal(fg_counter_get(&record_of(f)->preemptions), 0);
}

static void more_than_can_ever_fit_together_take_turns(void **state)
{
    struct fixture *f = *state;
    f->conf.admission = FG_KV_ADMIT_PEAK;
    f->conf.kv_bytes = 8 * fg_kv_block_bytes(&fixture_shape);
    f->conf.wait_max_ns = 3600 * FG_S;
    start(f);
    submit_as(f, 1, 40, choices(4, 60)); /* 7 blocks each, 5 of them its own */
    run_dry(f);
    for (uint64_t id = 1; id <= 4; id++)
        assert_int_equal(f->outcomes[id].token_count, 60);
}

static void they_wait_for_memory_together(void **state)
{
    struct fixture *f = *state;
    f->conf.admission = FG_KV_ADMIT_PEAK;
    f->conf.kv_bytes = 16 * fg_kv_block_bytes(&fixture_shape);
    start(f);
    submit_as(f, 9, 120, a_submit(24)); /* 9 blocks */
    assert_true(fg_scheduler_step(f->scheduler));
    submit_as(f, 1, 40, choices(3, 16)); /* 2 + 3 x 2 at their longest: not beside it */
    for (int i = 0; i < 10; i++) {
        assert_true(fg_scheduler_step(f->scheduler));
        assert_int_equal(f->outcomes[1].token_count, 0);
    }
    run_dry(f);
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(f->outcomes[id].token_count, 16);
    assert_int_equal(fg_counter_get(&record_of(f)->preemptions), 0);
}

static void the_first_is_refused_with_all_and_the_last_alone(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 2;
    f->conf.waiting_max = 2;
    start(f);
    submit_as(f, 1, 4, choices(6, 9)); /* 4 places */
    for (uint64_t id = 1; id <= 6; id++)
        assert_int_equal(f->outcomes[id].is_refused, id > 4);
    assert_int_equal(f->outcomes[5].refused.reason, FG_REFUSAL_QUEUE_FULL);
    submit_as(f, 11, 4, choices(3, 9));
    for (uint64_t id = 11; id <= 13; id++)
        assert_true(f->outcomes[id].is_refused);
    run_dry(f);
    for (uint64_t id = 1; id <= 4; id++)
        assert_true(f->outcomes[id].is_done);
    struct fg_scheduler_ticket ticket = enter(f, 21, choices(3, 9));
    fg_scheduler_reject(f->scheduler, ticket, FG_REFUSAL_BAD_PROMPT,
                        (struct fg_scheduler_figures){0, 0}, "it could not be read");
    for (uint64_t id = 21; id <= 23; id++)
        assert_true(f->outcomes[id].is_refused);
    submit_as(f, 31, 0, choices(2, 9)); /* an empty prompt */
    assert_true(f->outcomes[31].is_refused && f->outcomes[32].is_refused);
}

static void one_may_leave(void **state)
{
    struct fixture *f = *state;
    f->conf.admission = FG_KV_ADMIT_PEAK;
    for (uint64_t gone = 1; gone <= 3; gone++) {
        for (int steps = 0; steps < 4; steps++) {
            start(f);
            submit_as(f, 1, 40, choices(3, 10));
            for (int i = 0; i < steps; i++)
                assert_true(fg_scheduler_step(f->scheduler));
            cancel(f, gone);
            run_dry(f);
            for (uint64_t id = 1; id <= 3; id++)
                assert_int_equal(f->outcomes[id].is_done, id != gone);
        }
    }
}

int main(void)
{
#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(each_says_what_it_says_alone),
        WITH_FIXTURE(they_run_side_by_side),
        WITH_FIXTURE(those_without_a_place_follow),
        WITH_FIXTURE(memory_is_kept_for_all_of_them),
        WITH_FIXTURE(memory_is_reserved_for_all_of_them),
        WITH_FIXTURE(more_than_can_ever_fit_together_take_turns),
        WITH_FIXTURE(they_wait_for_memory_together),
        WITH_FIXTURE(the_first_is_refused_with_all_and_the_last_alone),
        WITH_FIXTURE(one_may_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
