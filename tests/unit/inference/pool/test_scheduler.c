/*
 * test_scheduler.c: what runs in which step, who waits, who is refused, over a model that is a fake
 * and a clock that only tests move.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "scheduler_fixture.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

static void decodes_come_first_and_prompts_in_chunks(void **state)
{
    struct fixture *f = *state;
    start(f);
    submit(f, 1, 3, 40);
    assert_true(fg_scheduler_step(f->scheduler));
    assert_int_equal(f->outcomes[1].token_count, 1);
    submit(f, 2, 50, 2);
    submit(f, 3, 20, 2);
    assert_true(fg_scheduler_step(f->scheduler));
    const struct fake_step *step = &f->executor.steps[1];
    assert_int_equal(step->run_count, 3); /* 1 + 16 + 15 = 32 */
    assert_int_equal(step->counts[0], 1);
    assert_int_equal(step->starts[0], 3);
    assert_int_equal(step->counts[1], 16);
    assert_int_equal(step->counts[2], 15);
    assert_true(fg_scheduler_step(f->scheduler));
    step = &f->executor.steps[2];
    assert_int_equal(step->counts[1], 16);
    assert_int_equal(step->starts[1], 16);
    assert_int_equal(step->counts[2], 5);
    assert_int_equal(f->outcomes[3].token_count, 1); /* its prompt is through */
    assert_int_equal(f->outcomes[2].token_count, 0);
    assert_int_equal(f->outcomes[1].token_count, 3); /* one a step, all along */
    run_dry(f);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_true(f->outcomes[id].is_done);
        assert_int_equal(f->outcomes[id].done.finish, FG_FINISH_LENGTH);
    }
    assert_int_equal(f->outcomes[2].done.prompt_tokens, 50);
    assert_int_equal(f->outcomes[2].done.completion_tokens, 2);
}

static void a_step_never_exceeds_its_budget(void **state)
{
    struct fixture *f = *state;
    f->conf.step_tokens_max = 7;
    f->conf.prefill_chunk = 100;
    f->conf.batch_max = 16; /* cut to the budget */
    f->conf.waiting_max = 16;
    start(f);
    for (uint64_t id = 1; id <= 12; id++)
        submit(f, id, 5 + (uint32_t)id, 6);
    run_dry(f);
    for (size_t i = 0; i < f->executor.step_count; i++) {
        uint32_t sum = 0;
        for (size_t r = 0; r < f->executor.steps[i].run_count; r++)
            sum += f->executor.steps[i].counts[r];
        assert_in_range(sum, 1, 7);
    }
    for (uint64_t id = 1; id <= 12; id++)
        assert_int_equal(f->outcomes[id].token_count, 6);
}

static void the_answer_does_not_depend_on_the_batch(void **state)
{
    struct fixture *f = *state;
    start(f);
    submit(f, 5, 37, 30);
    run_dry(f);
    struct outcome alone = f->outcomes[5];
    assert_int_equal(alone.token_count, 30);
    f->conf.prefill_chunk = 3;
    start(f);
    for (uint64_t id = 1; id <= 9; id++)
        submit(f, id, 30 + (uint32_t)(id == 5 ? 7 : id), 30);
    run_dry(f);
    assert_int_equal(f->outcomes[5].token_count, 30);
    assert_memory_equal(f->outcomes[5].tokens, alone.tokens, 30 * sizeof(uint32_t));
    assert_string_equal(f->outcomes[5].text, alone.text);
}

static void first_come_first_served_within_a_priority(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    start(f);
    for (uint64_t id = 1; id <= 4; id++) {
        struct fg_channel_submit *s = a_submit(2);
        s->priority_number = a_number(id == 4   ? FG_PRIORITY_CRITICAL
                                      : id == 2 ? FG_PRIORITY_LOW
                                                : FG_PRIORITY_NORMAL,
                                      64);
        submit_as(f, id, 4, s);
    }
    run_dry(f);
    assert_int_equal(f->outcomes[4].order, 0); /* critical */
    assert_int_equal(f->outcomes[1].order, 1);
    assert_int_equal(f->outcomes[3].order, 2);
    assert_int_equal(f->outcomes[2].order, 3); /* low */
}

static void arrival_counts_from_entering_not_from_being_ready(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    start(f);
    struct fg_scheduler_ticket slow = enter(f, 1, a_submit(2));
    submit(f, 2, 4, 2);
    submit(f, 3, 4, 2);
    assert_true(fg_scheduler_is_wanted(f->scheduler, slow));
    assert_true(fg_scheduler_step(f->scheduler)); /* 2 does not wait for 1's tokens */
    struct fg_token_list prompt = prompt_of(4, 1);
    fg_scheduler_submit(f->scheduler, slow, &prompt, NULL, 0);
    run_dry(f);
    assert_int_equal(f->outcomes[2].order, 0);
    assert_int_equal(f->outcomes[1].order, 1);
    assert_int_equal(f->outcomes[3].order, 2);
}

static void the_first_in_line_is_not_overtaken_for_blocks(void **state)
{
    struct fixture *f = *state;
    f->conf.kv_bytes = 8 * fg_kv_block_bytes(&fixture_shape);
    start(f);
    submit(f, 1, 30, 34); /* 4 blocks */
    submit(f, 2, 60, 36); /* 6 */
    submit(f, 3, 40, 4);  /* 3: would fit, waits behind 2 */
    assert_true(fg_scheduler_step(f->scheduler));
    assert_int_equal(fg_scheduler_running(f->scheduler), 1);
    assert_int_equal(fg_scheduler_waiting(f->scheduler), 2);
    assert_int_equal(free_blocks(f), 4);
    run_dry(f);
    assert_true(f->outcomes[2].order < f->outcomes[3].order);
    assert_int_equal(f->outcomes[2].token_count, 36);
    assert_int_equal(f->outcomes[3].token_count, 4);
    assert_int_equal(free_blocks(f), 8);
}

static void everything_that_can_be_needed_is_reserved(void **state)
{
    struct fixture *f = *state;
    f->conf.kv_bytes = 7 * fg_kv_block_bytes(&fixture_shape);
    start(f);
    submit(f, 1, 16, 16);
    submit(f, 2, 17, 16); /* 3 blocks: one token over */
    submit(f, 3, 16, 17);
    assert_true(fg_scheduler_step(f->scheduler));
    assert_int_equal(free_blocks(f), 2); /* 2 + 3, and 3 more do not fit */
    assert_int_equal(fg_scheduler_running(f->scheduler), 2);
    run_dry(f);
    for (uint64_t id = 1; id <= 3; id++)
        assert_true(f->outcomes[id].is_done);
    assert_int_equal(free_blocks(f), 7);
}

static void what_can_never_fit_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    f->conf.kv_bytes = 4 * fg_kv_block_bytes(&fixture_shape);
    start(f);
    submit(f, 1, 40, 25); /* 65 tokens, 4 blocks hold 64 */
    assert_true(f->outcomes[1].is_refused);
    assert_int_equal(f->outcomes[1].refused.reason, FG_REFUSAL_TOO_LONG);
    assert_int_equal(f->outcomes[1].refused.retry_after_ms, 0);
    assert_non_null(strstr(f->outcomes[1].message, "at most 64"));
    submit(f, 2, 40, 24);
    run_dry(f);
    assert_true(f->outcomes[2].is_done);
    submit(f, 3, 1, 512); /* beyond the context: known before any token is made */
    assert_int_equal(f->outcomes[3].refused.reason, FG_REFUSAL_TOO_LONG);
    submit(f, 4, 0, 8);
    assert_int_equal(f->outcomes[4].refused.reason, FG_REFUSAL_BAD_PROMPT);
    assert_int_equal(fg_scheduler_waiting(f->scheduler), 0);
}

/* Takes blocks as another worker of the same arena would. */
static struct fg_kv_sequence_id take_blocks(struct fixture *f, uint32_t count)
{
    struct fg_kv_sequence_info info = {0};
    struct fg_kv_sequence_id id;
    uint32_t blocks[64];
    assert_int_equal(fg_kv_arena_sequence_open(f->arena, 0, &info, &id), FG_OK);
    assert_int_equal(fg_kv_arena_sequence_reserve(f->arena, id, count, blocks), FG_OK);
    return id;
}

static void waits_for_blocks_of_another_worker(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct fg_kv_sequence_id other = take_blocks(f, 64);
    submit(f, 1, 4, 4);
    assert_false(fg_scheduler_step(f->scheduler));
    uint64_t wake_ns = fg_scheduler_wake_ns(f->scheduler);
    assert_in_range(wake_ns, clock_now + 1, clock_now + 10 * FG_MS);
    clock_now += 9 * FG_S;
    assert_false(fg_scheduler_step(f->scheduler));
    assert_false(f->outcomes[1].is_refused);
    fg_kv_arena_sequence_close(f->arena, other);
    run_dry(f);
    assert_true(f->outcomes[1].is_done);
    assert_int_equal(f->outcomes[1].done.queue_ns, 9 * FG_S);
    assert_true(fg_scheduler_wake_ns(f->scheduler) == UINT64_MAX);
}

static void a_wait_in_vain_ends_in_a_refusal(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct fg_kv_sequence_id other = take_blocks(f, 62);
    submit(f, 1, 40, 40);
    clock_now += 10 * FG_S - 1;
    assert_false(fg_scheduler_step(f->scheduler));
    assert_false(f->outcomes[1].is_refused);
    clock_now += 1;
    assert_false(fg_scheduler_step(f->scheduler));
    assert_true(f->outcomes[1].is_refused);
    assert_int_equal(f->outcomes[1].refused.reason, FG_REFUSAL_NO_BLOCKS);
    assert_in_range(f->outcomes[1].refused.retry_after_ms, 100, 60000);
    struct fg_kv_worker_record *record = fg_kv_arena_worker(f->arena, 1);
    assert_int_equal(fg_counter_get(&record->refused[FG_REFUSAL_NO_BLOCKS]), 1);
    assert_int_equal(fg_counter_get(&record->waiting), 0);
    fg_kv_arena_sequence_close(f->arena, other);
}

static void retry_after_follows_the_rate_of_returning_blocks(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct fg_kv_sequence_id others[5];
    for (int i = 0; i < 4; i++)
        others[i] = take_blocks(f, 15);
    /* 15 blocks come back in a second, and are gone again. */
    fg_kv_arena_sequence_close(f->arena, others[0]);
    others[0] = take_blocks(f, 15);
    clock_now += FG_S;
    others[4] = take_blocks(f, 4);
    f->conf.wait_max_ns = 0;
    submit(f, 1, 100, 140); /* 15 blocks */
    clock_now += 10 * FG_S;
    assert_false(fg_scheduler_step(f->scheduler));
    assert_int_equal(f->outcomes[1].refused.reason, FG_REFUSAL_NO_BLOCKS);
    /* 15 blocks in 11 s, 15 wanted: as long again. */
    assert_in_range(f->outcomes[1].refused.retry_after_ms, 10900, 11100);
    for (int i = 0; i < 5; i++)
        fg_kv_arena_sequence_close(f->arena, others[i]);
}

static void a_deadline_ends_waiting_preparing_and_running(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    start(f);
    for (uint64_t id = 1; id <= 2; id++) {
        struct fg_channel_submit *s = a_submit(200);
        s->deadline_ns = clock_now + 50 * FG_MS;
        submit_as(f, id, 4, s);
    }
    struct fg_channel_submit *s = a_submit(4);
    s->deadline_ns = clock_now + 50 * FG_MS;
    struct fg_scheduler_ticket ticket = enter(f, 3, s);
    assert_true(fg_scheduler_step(f->scheduler));
    clock_now += 50 * FG_MS;
    assert_false(fg_scheduler_step(f->scheduler));
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(f->outcomes[id].refused.reason, FG_REFUSAL_DEADLINE);
    assert_int_equal(f->outcomes[1].token_count, 1);
    assert_false(fg_scheduler_is_wanted(f->scheduler, ticket));
    struct fg_token_list prompt = prompt_of(4, 1);
    fg_scheduler_submit(f->scheduler, ticket, &prompt, NULL, 0); /* late: nothing happens */
    assert_int_equal(free_blocks(f), 64);
    s->deadline_ns = clock_now;
    submit_as(f, 4, 4, s);
    assert_int_equal(f->outcomes[4].refused.reason, FG_REFUSAL_DEADLINE);
}

static void a_full_queue_refuses(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 2;
    f->conf.waiting_max = 3;
    start(f);
    for (uint64_t id = 1; id <= 5; id++)
        submit(f, id, 4, 8);
    submit(f, 6, 4, 8);
    assert_int_equal(f->outcomes[6].refused.reason, FG_REFUSAL_QUEUE_FULL);
    assert_in_range(f->outcomes[6].refused.retry_after_ms, 100, 60000);
    run_dry(f);
    for (uint64_t id = 1; id <= 5; id++)
        assert_true(f->outcomes[id].is_done);
}

static void no_more_than_waiting_max_stay_when_blocks_are_short(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 4;
    f->conf.waiting_max = 2;
    start(f);
    struct fg_kv_sequence_id other = take_blocks(f, 64);
    for (uint64_t id = 1; id <= 5; id++) {
        struct fg_channel_submit *s = a_submit(8);
        s->priority_number = a_number(id == 5 ? FG_PRIORITY_HIGH : FG_PRIORITY_NORMAL, 64);
        submit_as(f, id, 4, s);
    }
    assert_false(fg_scheduler_step(f->scheduler));
    assert_int_equal(fg_scheduler_waiting(f->scheduler), 2);
    assert_false(f->outcomes[1].is_refused || f->outcomes[5].is_refused);
    for (uint64_t id = 2; id <= 4; id++)
        assert_int_equal(f->outcomes[id].refused.reason, FG_REFUSAL_QUEUE_FULL);
    fg_kv_arena_sequence_close(f->arena, other);
}

static void the_arenas_sequences_are_a_limit_too(void **state)
{
    struct fixture *f = *state;
    f->conf.sequences_max = 2;
    start(f);
    for (uint64_t id = 1; id <= 3; id++)
        submit(f, id, 4, 8);
    assert_int_equal(f->outcomes[3].refused.reason, FG_REFUSAL_QUEUE_FULL);
    run_dry(f);
    assert_true(f->outcomes[1].is_done && f->outcomes[2].is_done);
}

static void cancel_frees_at_once(void **state)
{
    struct fixture *f = *state;
    start(f);
    submit(f, 1, 40, 100);
    submit(f, 2, 4, 4);
    assert_true(fg_scheduler_step(f->scheduler)); /* 1 is in the middle of its prompt */
    assert_int_equal(free_blocks(f), 64 - 9 - 1);
    cancel(f, 1);
    assert_int_equal(free_blocks(f), 64 - 1);
    cancel(f, 1);
    cancel(f, 77);
    struct fg_scheduler_ticket ticket = enter(f, 3, a_submit(4));
    cancel(f, 3);
    assert_false(fg_scheduler_is_wanted(f->scheduler, ticket));
    run_dry(f);
    assert_true(f->outcomes[2].is_done);
    assert_false(f->outcomes[1].is_done || f->outcomes[1].is_refused);
    submit(f, 1, 4, 4); /* the key is free again */
    submit(f, 4, 4, 100);
    assert_true(fg_scheduler_step(f->scheduler));
    fg_scheduler_cancel_connection(f->scheduler, 2);
    assert_int_equal(fg_scheduler_running(f->scheduler), 2);
    fg_scheduler_cancel_connection(f->scheduler, 1);
    assert_int_equal(fg_scheduler_running(f->scheduler), 0);
    assert_int_equal(free_blocks(f), 64);
}

static void a_key_in_use_is_an_error(void **state)
{
    struct fixture *f = *state;
    start(f);
    submit(f, 1, 4, 4);
    struct fg_scheduler_key key = {1, 1};
    struct fg_scheduler_ticket ticket;
    assert_int_equal(fg_scheduler_enter(f->scheduler, &key, a_submit(4), &ticket), FG_ERR_INVALID);
    key.connection = 2; /* another connection counts for itself */
    assert_int_equal(fg_scheduler_enter(f->scheduler, &key, a_submit(4), &ticket), FG_OK);
    fg_scheduler_reject(f->scheduler, ticket, FG_REFUSAL_BAD_PROMPT,
                        (struct fg_scheduler_figures){0, 0}, "it could not be read");
    assert_int_equal(f->outcomes[1].refused.reason, FG_REFUSAL_BAD_PROMPT);
}

static uint32_t next_or_end(const uint32_t *tokens, uint32_t count)
{
    return count >= 9 ? FAKE_END : fake_next_letter(tokens, count);
}

static void an_end_token_stops_unless_ignored(void **state)
{
    struct fixture *f = *state;
    f->executor.next = next_or_end;
    start(f);
    submit(f, 1, 4, 50); /* tokens at positions 4..8, the end at 9 */
    struct fg_channel_submit *s = a_submit(10);
    s->ignore_end = true;
    submit_as(f, 2, 4, s);
    run_dry(f);
    assert_int_equal(f->outcomes[1].done.finish, FG_FINISH_STOP);
    assert_int_equal(f->outcomes[1].token_count, 5);
    assert_int_equal(f->outcomes[1].done.completion_tokens, 5);
    assert_int_equal(f->outcomes[2].done.finish, FG_FINISH_LENGTH);
    assert_int_equal(f->outcomes[2].token_count, 10);
    assert_int_equal(strlen(f->outcomes[2].text), 5);
}

static void a_stop_string_across_tokens_ends_the_stream(void **state)
{
    struct fixture *f = *state;
    f->executor.next = fake_next_letter;
    start(f);
    struct fg_channel_submit *s = a_submit(50);
    s->stops[0] = FG_SPAN("jkl");
    s->stops[1] = FG_SPAN("zz");
    s->stop_count = 2;
    submit_as(f, 1, 2, s); /* prompt b, g: the text goes on with h */
    run_dry(f);
    assert_string_equal(f->outcomes[1].text, "hi");
    assert_int_equal(f->outcomes[1].done.finish, FG_FINISH_STOP);
    assert_int_equal(f->outcomes[1].token_count, 5);
    assert_int_equal(f->outcomes[1].done.text.len, 0);
    /* Held back, then the length is reached: it comes with DONE. */
    s = a_submit(4);
    s->stops[0] = FG_SPAN("jkl");
    s->stop_count = 1;
    submit_as(f, 27, 2, s); /* the same prompt: 27 is 1 modulo 26 */
    run_dry(f);
    assert_string_equal(f->outcomes[27].text, "hijk");
    assert_int_equal(f->outcomes[27].done.text.len, 2);
    char longest[300];
    memset(longest, 'x', sizeof(longest));
    s->stops[0] = fg_span_make(longest, 257);
    submit_as(f, 3, 2, s);
    assert_int_equal(f->outcomes[3].refused.reason, FG_REFUSAL_BAD_PROMPT);
}

static uint32_t next_half_euros(const uint32_t *tokens, uint32_t count)
{
    (void)tokens;
    return count % 2 == 0 ? 27 : 28;
}

static void half_characters_are_held_back(void **state)
{
    struct fixture *f = *state;
    f->executor.next = next_half_euros;
    start(f);
    submit(f, 1, 2, 3);
    run_dry(f);
    assert_string_equal(f->outcomes[1].text, "\xe2\x82\xac\xef\xbf\xbd");
    assert_int_equal(f->outcomes[1].done.text.len, 3);
}

static void put_u32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

/* Runs a request whole, then again from every token on as another worker would. */
static void assert_resumes(struct fixture *f, struct fg_channel_submit *base)
{
    struct fg_channel_submit first = *base;
    start(f);
    submit_as(f, 1, 21, &first);
    run_dry(f);
    struct outcome whole = f->outcomes[1];
    assert_true(whole.is_done);
    unsigned char bytes[OUTPUT_MAX * 4 + 1];
    for (uint32_t i = 0; i < whole.token_count; i++)
        put_u32(bytes + 1 + i * 4, whole.tokens[i]);
    for (uint32_t cut = 1; cut <= whole.token_count; cut++) {
        struct fg_channel_submit again = first;
        again.resumed = bytes + 1; /* unaligned */
        again.resumed_count = cut;
        start(f);
        submit_as(f, 1, 21, &again);
        run_dry(f);
        const struct outcome *rest = &f->outcomes[1];
        assert_true(rest->is_done);
        assert_int_equal(rest->done.finish, whole.done.finish);
        assert_int_equal(rest->done.completion_tokens, whole.done.completion_tokens);
        assert_int_equal(rest->done.prompt_tokens, 21);
        for (uint32_t i = cut; i < whole.token_count; i++)
            assert_int_equal(rest->tokens[i], whole.tokens[i]);
        /* The text from the cut on is the tail of the whole. */
        size_t tail = strlen(rest->text);
        assert_true(tail <= strlen(whole.text));
        assert_string_equal(whole.text + strlen(whole.text) - tail, rest->text);
    }
}

static void a_resumed_request_goes_on_identically(void **state)
{
    struct fixture *f = *state;
    struct fg_channel_submit *s = a_submit(40);
    assert_resumes(f, s);
    s->sampling = (struct fg_sampling){.temperature = 1.5f, .top_p = 0.95f, .seed = 42};
    assert_resumes(f, s);
    f->executor.next = fake_next_letter;
    s = a_submit(40);
    s->stops[0] = FG_SPAN("stuvw");
    s->stop_count = 1;
    assert_resumes(f, s);
    f->executor.next = next_half_euros;
    assert_resumes(f, a_submit(7));
}

static void a_resumed_request_goes_before_new_ones(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    start(f);
    unsigned char token[4] = {3, 0, 0, 0};
    submit(f, 1, 4, 3);
    struct fg_channel_submit *s = a_submit(3);
    s->resumed = token;
    s->resumed_count = 1;
    submit_as(f, 2, 4, s);
    run_dry(f);
    assert_int_equal(f->outcomes[2].order, 0);
    unsigned char outside[4] = {99, 0, 0, 0};
    s->resumed = outside;
    submit_as(f, 3, 4, s);
    assert_int_equal(f->outcomes[3].refused.reason, FG_REFUSAL_BAD_PROMPT);
}

static void a_drain_refuses_what_has_not_begun(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    start(f);
    submit(f, 1, 4, 3);
    submit(f, 2, 4, 3);
    struct fg_scheduler_ticket ticket = enter(f, 3, a_submit(3));
    assert_true(fg_scheduler_step(f->scheduler));
    fg_scheduler_drain(f->scheduler);
    assert_int_equal(f->outcomes[2].refused.reason, FG_REFUSAL_DRAINING);
    assert_int_equal(f->outcomes[3].refused.reason, FG_REFUSAL_DRAINING);
    assert_false(fg_scheduler_is_wanted(f->scheduler, ticket));
    submit(f, 4, 4, 3);
    assert_int_equal(f->outcomes[4].refused.reason, FG_REFUSAL_DRAINING);
    run_dry(f);
    assert_int_equal(f->outcomes[1].token_count, 3);
    assert_true(f->outcomes[1].is_done);
    start(f);
    submit(f, 1, 4, 30);
    assert_true(fg_scheduler_step(f->scheduler));
    fg_scheduler_evict(f->scheduler);
    assert_int_equal(f->outcomes[1].refused.reason, FG_REFUSAL_DRAINING);
    assert_int_equal(free_blocks(f), 64);
}

static void a_lost_arena_slot_is_an_error_not_a_crash(void **state)
{
    struct fixture *f = *state;
    start(f);
    submit(f, 1, 4, 3);
    assert_int_equal(fg_kv_arena_reclaim_worker(f->arena, 1), 1);
    assert_false(fg_scheduler_step(f->scheduler));
    assert_int_equal(f->outcomes[1].refused.reason, FG_REFUSAL_INTERNAL);
    submit(f, 2, 4, 3);
    assert_true(fg_scheduler_step(f->scheduler));
    assert_int_equal(fg_kv_arena_reclaim_worker(f->arena, 1), 1);
    run_dry(f);
    assert_true(f->outcomes[2].is_done);
}

static void the_record_counts(void **state)
{
    struct fixture *f = *state;
    start(f);
    submit(f, 1, 20, 5);
    submit(f, 2, 10, 3);
    run_dry(f);
    struct fg_kv_worker_record *record = fg_kv_arena_worker(f->arena, 1);
    assert_int_equal(fg_counter_get(&record->tokens_prefill), 30);
    assert_int_equal(fg_counter_get(&record->tokens_decode), 4 + 2);
    assert_int_equal(fg_counter_get(&record->steps), f->executor.step_count);
    assert_int_equal(fg_counter_get(&record->running), 0);
    assert_in_range(fg_counter_get(&record->heartbeat_ns), 1000 * FG_S, clock_now);
}

int main(void)
{
#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(decodes_come_first_and_prompts_in_chunks),
        WITH_FIXTURE(a_step_never_exceeds_its_budget),
        WITH_FIXTURE(the_answer_does_not_depend_on_the_batch),
        WITH_FIXTURE(first_come_first_served_within_a_priority),
        WITH_FIXTURE(arrival_counts_from_entering_not_from_being_ready),
        WITH_FIXTURE(the_first_in_line_is_not_overtaken_for_blocks),
        WITH_FIXTURE(everything_that_can_be_needed_is_reserved),
        WITH_FIXTURE(what_can_never_fit_is_refused_at_once),
        WITH_FIXTURE(waits_for_blocks_of_another_worker),
        WITH_FIXTURE(a_wait_in_vain_ends_in_a_refusal),
        WITH_FIXTURE(retry_after_follows_the_rate_of_returning_blocks),
        WITH_FIXTURE(a_deadline_ends_waiting_preparing_and_running),
        WITH_FIXTURE(a_full_queue_refuses),
        WITH_FIXTURE(no_more_than_waiting_max_stay_when_blocks_are_short),
        WITH_FIXTURE(the_arenas_sequences_are_a_limit_too),
        WITH_FIXTURE(cancel_frees_at_once),
        WITH_FIXTURE(a_key_in_use_is_an_error),
        WITH_FIXTURE(an_end_token_stops_unless_ignored),
        WITH_FIXTURE(a_stop_string_across_tokens_ends_the_stream),
        WITH_FIXTURE(half_characters_are_held_back),
        WITH_FIXTURE(a_resumed_request_goes_on_identically),
        WITH_FIXTURE(a_resumed_request_goes_before_new_ones),
        WITH_FIXTURE(a_drain_refuses_what_has_not_begun),
        WITH_FIXTURE(a_lost_arena_slot_is_an_error_not_a_crash),
        WITH_FIXTURE(the_record_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
