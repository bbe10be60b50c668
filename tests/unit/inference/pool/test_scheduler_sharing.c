/*
 * test_scheduler_sharing.c: what sequences share, take from each other, and leave to each other:
 * prefixes, blocks, turns, and workers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "scheduler_fixture.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define PROMPT_MAX 400u

static void share(struct fixture *f)
{
    f->conf.prefix_sharing = FG_PREFIX_TENANT;
    f->conf.admission = FG_KV_ADMIT_PEAK;
    start(f);
}

/* `same` tokens that all have, then some of its own. */
static void make_prompt(uint32_t *tokens, uint32_t count, uint32_t same, uint32_t own)
{
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = i < same ? (i * 7) % 26 : (i * 3 + own * 5) % 26;
}

static struct fg_channel_submit *a_stream(uint32_t max_tokens, uint64_t id)
{
    struct fg_channel_submit *s = a_submit(max_tokens);
    s->stream_key = 0xabc000 + id;
    s->cache_salt = 1;
    return s;
}

/* Tokens that were computed, by all steps. */
static uint32_t computed(const struct fixture *f)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < f->executor.step_count; i++) {
        for (size_t r = 0; r < f->executor.steps[i].run_count; r++)
            sum += f->executor.steps[i].counts[r];
    }
    return sum;
}

static struct fg_kv_worker_record *record_of(struct fixture *f)
{
    return fg_kv_arena_worker(f->arena, 1);
}

/* What each says alone, without any sharing. */
static struct outcome alone(struct fixture *f, const uint32_t *tokens, uint32_t count,
                            uint32_t max_tokens)
{
    f->conf.prefix_sharing = FG_PREFIX_OFF;
    f->conf.admission = FG_KV_ADMIT_RESERVE;
    start(f);
    submit_tokens(f, f->scheduler, 1, tokens, count, a_stream(max_tokens, 1));
    run_dry(f);
    assert_true(f->outcomes[1].is_done);
    return f->outcomes[1];
}

static void a_shared_prompt_is_computed_once(void **state)
{
    struct fixture *f = *state;
    uint32_t tokens[4][PROMPT_MAX];
    struct outcome want[4];
    for (uint32_t i = 0; i < 4; i++) {
        make_prompt(tokens[i], 110, 100, i + 1);
        want[i] = alone(f, tokens[i], 110, 5);
    }
    share(f);
    for (uint32_t i = 0; i < 4; i++) /* all at once */
        submit_tokens(f, f->scheduler, i + 1, tokens[i], 110, a_stream(5, i));
    run_dry(f);
    for (uint32_t i = 0; i < 4; i++)
        assert_same_outcome(&f->outcomes[i + 1], &want[i]);
    /* 96 of the 100 are whole blocks. */
    assert_int_equal(fg_counter_get(&record_of(f)->tokens_prefill), 96 + 4 * 14);
    assert_int_equal(fg_counter_get(&record_of(f)->tokens_cached), 3 * 96);
    assert_int_equal(fg_counter_get(&record_of(f)->tokens_prompt), 4 * 110);
    /* And one that comes when they have gone. */
    uint32_t before = computed(f);
    submit_tokens(f, f->scheduler, 9, tokens[2], 110, a_stream(5, 9));
    run_dry(f);
    assert_same_outcome(&f->outcomes[9], &want[2]);
    assert_int_equal(computed(f) - before, 14 + 4);
    assert_int_equal(f->outcomes[9].done.cached_tokens, 96);
}

static void another_tenant_computes_for_itself(void **state)
{
    struct fixture *f = *state;
    uint32_t tokens[PROMPT_MAX];
    make_prompt(tokens, 110, 110, 0);
    share(f);
    for (uint64_t id = 1; id <= 2; id++) {
        struct fg_channel_submit *s = a_stream(3, id);
        s->cache_salt = id;
        submit_tokens(f, f->scheduler, id, tokens, 110, s);
    }
    run_dry(f);
    assert_int_equal(fg_counter_get(&record_of(f)->tokens_prefill), 220);
    assert_int_equal(fg_counter_get(&record_of(f)->tokens_cached), 0);
    assert_string_equal(f->outcomes[1].text, f->outcomes[2].text);
}

static void a_conversation_finds_its_own_answers(void **state)
{
    struct fixture *f = *state;
    uint32_t tokens[PROMPT_MAX];
    make_prompt(tokens, 40, 40, 0);
    share(f);
    submit_tokens(f, f->scheduler, 1, tokens, 40, a_stream(30, 1));
    run_dry(f);
    memcpy(tokens + 40, f->outcomes[1].tokens, 30 * sizeof(uint32_t));
    submit_tokens(f, f->scheduler, 2, tokens, 70, a_stream(3, 2));
    run_dry(f);
    assert_int_equal(f->outcomes[2].done.cached_tokens, 64);
}

static void a_prompt_of_whole_blocks_computes_one_token(void **state)
{
    struct fixture *f = *state;
    uint32_t tokens[PROMPT_MAX];
    make_prompt(tokens, 64, 64, 0);
    struct outcome want = alone(f, tokens, 64, 8);
    share(f);
    submit_tokens(f, f->scheduler, 1, tokens, 64, a_stream(8, 1));
    run_dry(f);
    submit_tokens(f, f->scheduler, 2, tokens, 64, a_stream(8, 2));
    submit_tokens(f, f->scheduler, 3, tokens, 64, a_stream(8, 3));
    run_dry(f);
    for (uint64_t id = 1; id <= 3; id++)
        assert_same_outcome(&f->outcomes[id], &want);
    assert_int_equal(f->outcomes[2].done.cached_tokens, 63);
}

static void two_workers_compute_it_once(void **state)
{
    struct fixture *f = *state;
    uint32_t tokens[2][PROMPT_MAX];
    struct outcome want[2];
    for (uint32_t i = 0; i < 2; i++) {
        make_prompt(tokens[i], 110, 100, i + 1);
        want[i] = alone(f, tokens[i], 110, 5);
    }
    share(f);
    start_other(f);
    submit_tokens(f, f->scheduler, 1, tokens[0], 110, a_stream(5, 1));
    submit_tokens(f, f->other, 2, tokens[1], 110, a_stream(5, 2));
    for (int i = 0; i < 100; i++) {
        fg_scheduler_step(f->scheduler);
        fg_scheduler_step(f->other);
        clock_now += FG_MS;
    }
    assert_same_outcome(&f->outcomes[1], &want[0]);
    assert_same_outcome(&f->outcomes[2], &want[1]);
    struct fg_kv_worker_record *other = fg_kv_arena_worker(f->arena, 0);
    assert_int_equal(fg_counter_get(&record_of(f)->tokens_prefill) +
                         fg_counter_get(&other->tokens_prefill),
                     96 + 2 * 14);
}

/* ---- memory ---- */

static void blocks_are_taken_as_they_are_needed(void **state)
{
    struct fixture *f = *state;
    f->conf.prefix_sharing = FG_PREFIX_OFF;
    f->conf.admission = FG_KV_ADMIT_PEAK;
    start(f);
    submit(f, 1, 20, 100);
    assert_true(fg_scheduler_step(f->scheduler));
    assert_true(fg_scheduler_step(f->scheduler));
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(f->arena, &gauges);
    assert_int_equal(gauges.blocks_used, 2);
    assert_in_range(fg_kv_arena_slots(f->arena).wasted, 0, 16);
    run_dry(f);
    assert_int_equal(f->outcomes[1].token_count, 100);
}

static void nobody_dies_for_memory(void **state)
{
    struct fixture *f = *state;
    uint32_t tokens[12][PROMPT_MAX];
    struct outcome want[12];
    for (uint32_t i = 0; i < 12; i++) {
        make_prompt(tokens[i], 30 + i, 8, i);
        want[i] = alone(f, tokens[i], 30 + i, 60 + i);
    }
    f->conf.kv_bytes = 14 * fg_kv_block_bytes(&fixture_shape);
    f->conf.waiting_max = 16;
    share(f);
    start_other(f);
    for (uint32_t i = 0; i < 12; i++)
        submit_tokens(f, i % 2 == 0 ? f->scheduler : f->other, i + 1, tokens[i], 30 + i,
                      a_stream(60 + i, i));
    for (int i = 0; i < 3000; i++) {
        fg_scheduler_step(f->scheduler);
        if (i % 3 != 0) /* not at the same pace: the forecast does not hold */
            fg_scheduler_step(f->other);
        clock_now += FG_MS;
    }
    for (uint32_t i = 0; i < 12; i++)
        assert_same_outcome(&f->outcomes[i + 1], &want[i]);
}

static void a_higher_priority_takes_a_place_and_gives_it_back(void **state)
{
    struct fixture *f = *state;
    uint32_t tokens[3][PROMPT_MAX];
    struct outcome want[3];
    for (uint32_t i = 0; i < 3; i++) {
        make_prompt(tokens[i], 40, 8, i);
        want[i] = alone(f, tokens[i], 40, 20);
    }
    f->conf.batch_max = 2;
    share(f);
    for (uint32_t i = 0; i < 2; i++)
        submit_tokens(f, f->scheduler, i + 1, tokens[i], 40, a_stream(20, i));
    for (int i = 0; i < 6; i++)
        assert_true(fg_scheduler_step(f->scheduler));
    struct fg_channel_submit *s = a_stream(20, 3);
    s->priority_number = a_number(FG_PRIORITY_CRITICAL, 64);
    submit_tokens(f, f->scheduler, 3, tokens[2], 40, s);
    assert_true(fg_scheduler_step(f->scheduler));
    assert_int_equal(fg_counter_get(&record_of(f)->preemptions), 1);
    assert_int_equal(fg_scheduler_running(f->scheduler), 2);
    assert_int_equal(fg_scheduler_waiting(f->scheduler), 1);
    run_dry(f);
    for (uint32_t i = 0; i < 3; i++)
        assert_same_outcome(&f->outcomes[i + 1], &want[i]);
    /* An equal takes nothing. */
    for (uint32_t i = 0; i < 3; i++)
        submit_tokens(f, f->scheduler, i + 11, tokens[i], 40, a_stream(20, i + 11));
    run_dry(f);
    assert_int_equal(fg_counter_get(&record_of(f)->preemptions), 1);
}

/* ---- turns ---- */

static void users_take_turns(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    f->conf.waiting_max = 20;
    start(f);
    for (uint64_t id = 1; id <= 9; id++) {
        struct fg_channel_submit *s = a_submit(4);
        s->user_hash = id <= 6 ? 100 : 200; /* six of one, then three of another */
        submit_as(f, id, 10, s);
    }
    run_dry(f);
    /* The second user's n-th comes before the first user's n+1-th. */
    for (uint64_t n = 0; n < 3; n++)
        assert_true(f->outcomes[7 + n].order < f->outcomes[2 + n].order + 1);
}

static void the_earlier_deadline_goes_first(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    start(f);
    submit(f, 1, 4, 2);
    for (uint64_t id = 2; id <= 4; id++) {
        struct fg_channel_submit *s = a_submit(2);
        s->deadline_ns = clock_now + (10 - id) * FG_S;
        submit_as(f, id, 4, s);
    }
    run_dry(f);
    assert_int_equal(f->outcomes[4].order, 0);
    assert_int_equal(f->outcomes[3].order, 1);
    assert_int_equal(f->outcomes[1].order, 3);
}

static void a_long_wait_counts_as_a_higher_priority(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    f->conf.wait_max_ns = 9 * FG_S;
    start(f);
    submit(f, 1, 4, 3);
    assert_true(fg_scheduler_step(f->scheduler));
    struct fg_channel_submit *s = a_submit(3);
    s->priority_number = a_number(FG_PRIORITY_LOW, 64);
    submit_as(f, 2, 4, s);
    clock_now += 7 * FG_S; /* two thirds: low counts as high */
    s->priority_number = a_number(FG_PRIORITY_NORMAL, 64);
    submit_as(f, 3, 4, s);
    run_dry(f);
    assert_true(f->outcomes[2].order < f->outcomes[3].order);
}

static void slow_step(void)
{
    clock_now += 50 * FG_MS;
}

static uint32_t last_step_tokens(const struct fixture *f)
{
    const struct fake_step *step = &f->executor.steps[f->executor.step_count - 1];
    uint32_t sum = 0;
    for (size_t r = 0; r < step->run_count; r++)
        sum += step->counts[r];
    return sum;
}

/* As slow as the tokens that it computes: 10 ms each. */
static struct fixture *slow_fixture;
static void slow_by_tokens(void)
{
    const struct fake_step *step =
        &slow_fixture->executor.steps[slow_fixture->executor.step_count - 1];
    for (size_t r = 0; r < step->run_count; r++)
        clock_now += step->counts[r] * 10 * FG_MS;
}

static void a_step_is_cut_to_the_time_it_may_take(void **state)
{
    struct fixture *f = *state;
    f->conf.step_tokens_max = 256;
    f->conf.prefill_chunk = 256;
    f->conf.step_time_max_ns = 400 * FG_MS;
    slow_fixture = f;
    f->executor.on_step = slow_by_tokens;
    start(f);
    submit(f, 1, 30, 200);
    for (int i = 0; i < 5; i++)
        assert_true(fg_scheduler_step(f->scheduler));
    submit(f, 2, 300, 4);
    for (int i = 0; i < 5; i++) {
        uint64_t before = clock_now;
        assert_true(fg_scheduler_step(f->scheduler));
        assert_in_range(clock_now - before, 170 * FG_MS, 420 * FG_MS);
        assert_in_range(last_step_tokens(f), 17, 42);
    }
    run_dry(f);
    assert_true(f->outcomes[2].is_done);
}

static void a_long_prompt_gives_way_but_gets_on(void **state)
{
    struct fixture *f = *state;
    f->conf.step_tokens_max = 64;
    f->conf.prefill_chunk = 64;
    f->conf.prefill_long = 100;
    f->conf.kv_bytes = 128 * fg_kv_block_bytes(&fixture_shape);
    start(f);
    submit(f, 1, 400, 4);
    submit(f, 2, 380, 4);
    assert_true(fg_scheduler_step(f->scheduler));
    assert_int_equal(f->executor.steps[0].run_count, 1); /* one long prompt at a time */
    submit(f, 3, 90, 4);
    assert_true(fg_scheduler_step(f->scheduler));
    const struct fake_step *step = &f->executor.steps[1];
    assert_int_equal(step->run_count, 2);
    assert_int_equal(step->counts[0], 48); /* the short one */
    assert_int_equal(step->counts[1], 16); /* a quarter is kept for the long one */
    run_dry(f);
    assert_int_equal(f->outcomes[3].order, 0);
    for (uint64_t id = 1; id <= 3; id++)
        assert_true(f->outcomes[id].is_done);
}

static void what_cannot_be_in_time_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    f->executor.on_step = slow_step;
    start(f);
    struct fg_channel_submit *s = a_submit(10);
    s->deadline_ns = clock_now + 1;
    submit_as(f, 1, 100, s); /* nothing has been measured: it may try */
    assert_false(f->outcomes[1].is_refused);
    cancel(f, 1);
    submit(f, 2, 100, 10);
    run_dry(f);
    s->deadline_ns = clock_now + 600 * FG_MS; /* prompt 160 ms, answer 10 x 50 ms */
    submit_as(f, 3, 100, s);
    assert_true(f->outcomes[3].is_refused);
    assert_int_equal(f->outcomes[3].refused.reason, FG_REFUSAL_LATE);
    assert_in_range(f->outcomes[3].refused.retry_after_ms, 100, 1000);
    s->deadline_ns = clock_now + 2 * FG_S;
    submit_as(f, 4, 100, s);
    run_dry(f);
    assert_true(f->outcomes[4].is_done);
    struct fg_kv_worker_record *record = record_of(f);
    assert_int_equal(fg_counter_get(&record->predictions), 1);
    uint64_t took_ns = fg_counter_get(&record->predicted_actual_ns);
    assert_in_range(fg_counter_get(&record->predicted_error_ns), 0, took_ns / 2);
}

/* It could have been when it came; the machine stood still since. */
static void what_can_be_in_time_no_more_is_not_begun(void **state)
{
    struct fixture *f = *state;
    f->conf.batch_max = 1;
    f->executor.on_step = slow_step;
    start(f);
    submit(f, 1, 100, 10);
    run_dry(f);
    submit(f, 2, 20, 10);
    assert_true(fg_scheduler_step(f->scheduler));
    struct fg_channel_submit *s = a_submit(10);
    s->deadline_ns = clock_now + 3 * FG_S;
    submit_as(f, 3, 20, s);
    assert_false(f->outcomes[3].is_refused);
    clock_now += 2 * FG_S;
    run_dry(f);
    assert_true(f->outcomes[2].is_done);
    assert_int_equal(f->outcomes[3].refused.reason, FG_REFUSAL_LATE);
    assert_int_equal(f->outcomes[3].token_count, 0); /* nothing of it was sent */
    assert_in_range(f->outcomes[3].refused.retry_after_ms, 100, 60000);
}

/* What came of a flood. */
struct flood {
    uint64_t came_ns[IDS_MAX]; /* 0: the id is free */
    uint64_t seed;
    uint32_t done;
    uint32_t refused;
    uint32_t refused_late; /* of them after more than half a second */
};

static void count_ends(struct fixture *f, struct flood *flood)
{
    for (uint64_t id = 1; id < IDS_MAX; id++) {
        const struct outcome *o = &f->outcomes[id];
        if (flood->came_ns[id] == 0 || (!o->is_done && !o->is_refused))
            continue;
        flood->done += o->is_done;
        flood->refused += o->is_refused;
        flood->refused_late += o->is_refused && clock_now - flood->came_ns[id] > 500 * FG_MS;
        flood->came_ns[id] = 0;
    }
}

/* A request of a user of its own, whose lot may be any, with 2 s of time. */
static void let_one_come(struct fixture *f, struct flood *flood)
{
    uint64_t id = 1;
    while (id < IDS_MAX && flood->came_ns[id] != 0)
        id++;
    assert_true(id < IDS_MAX);
    memset(&f->outcomes[id], 0, sizeof(f->outcomes[id]));
    flood->seed = flood->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    struct fg_channel_submit *s = a_submit(10);
    s->user_hash = flood->seed >> 20;
    s->priority_number = a_number(FG_PRIORITY_NORMAL, (uint32_t)(flood->seed >> 40) % 128);
    s->deadline_ns = clock_now + 2 * FG_S;
    flood->came_ns[id] = clock_now;
    submit_as(f, id, 20, s);
}

/*
 * Ten times what can be served: who is refused is refused on coming, or when somebody of a better
 * lot comes, and not when the turn would have been.
 */
static void who_is_overtaken_and_too_late_by_that_is_told(void **state)
{
    struct fixture *f = *state;
    struct flood flood = {.seed = 7};
    f->executor.on_step = slow_step;
    f->conf.waiting_max = 32;
    f->conf.sequences_max = 48;
    start(f);
    submit(f, 1, 20, 10);
    run_dry(f);
    for (int turn = 0; turn < 1500; turn++) {
        count_ends(f, &flood);
        for (int i = 0; i < 4; i++)
            let_one_come(f, &flood);
        if (!fg_scheduler_step(f->scheduler))
            clock_now += 10 * FG_MS;
    }
    print_message("  %u done, %u refused, of them %u after half a second\n", flood.done,
                  flood.refused, flood.refused_late);
    assert_true(flood.done >= 500); /* four at a time in 11 steps: 545 */
    assert_true(flood.refused_late * 200 < flood.refused);
    for (uint64_t id = 1; id < IDS_MAX; id++)
        cancel(f, id);
}

static void a_client_that_leaves_saves_what_is_left(void **state)
{
    struct fixture *f = *state;
    start(f);
    submit(f, 1, 10, 100);
    for (int i = 0; i < 10; i++)
        assert_true(fg_scheduler_step(f->scheduler));
    cancel(f, 1);
    assert_int_equal(fg_counter_get(&record_of(f)->tokens_saved), 90);
    assert_int_equal(free_blocks(f), 64);
}

/* ---- from worker to worker ---- */

static enum fg_status adopt(struct fixture *f, struct fg_scheduler *scheduler, uint64_t id,
                            struct fg_channel_submit *s, const uint32_t *known,
                            uint32_t known_count)
{
    struct fg_scheduler_key key = {2, id};
    struct fg_scheduler_ticket ticket;
    unsigned char bytes[OUTPUT_MAX * 4];
    for (uint32_t i = 0; i < known_count * 4; i++)
        bytes[i] = (unsigned char)(known[i / 4] >> (8 * (i % 4)));
    s->may_adopt = true;
    s->resumed_count = known_count;
    s->resumed = bytes;
    assert_int_equal(fg_scheduler_enter(scheduler, &key, s, &ticket), FG_OK);
    f->outcomes[id].is_refused = false;
    return fg_scheduler_adopt(scheduler, ticket, bytes, known_count);
}

/* Runs on worker 0 for some steps, kills it, and goes on at worker 1; at every step in turn. */
static void assert_survives(struct fixture *f, const struct fg_sampling *sampling,
                            uint32_t forgotten)
{
    uint32_t tokens[PROMPT_MAX];
    make_prompt(tokens, 90, 0, 3);
    for (int deaths = 1; deaths < 20; deaths++) {
        share(f);
        struct fg_channel_submit *s = a_stream(30, 1);
        s->sampling = *sampling;
        submit_tokens(f, f->scheduler, 1, tokens, 90, s);
        run_dry(f);
        struct outcome want = f->outcomes[1];
        share(f);
        start_other(f);
        s = a_stream(30, 1);
        s->sampling = *sampling;
        submit_tokens(f, f->other, 1, tokens, 90, s);
        for (int i = 0; i < deaths; i++)
            assert_true(fg_scheduler_step(f->other));
        struct outcome *got = &f->outcomes[1];
        /* The last ones did not reach the gateway. */
        uint32_t known = got->token_count > forgotten ? got->token_count - forgotten : 0;
        uint32_t before_count = got->token_count;
        uint32_t before = computed(f);
        got->token_count = known;
        got->text[known < before_count ? got->text_bytes[known] : strlen(got->text)] = '\0';
        assert_int_equal(adopt(f, f->scheduler, 1, s, got->tokens, known), FG_ERR_BUSY);
        struct fg_scheduler_key key = {2, 1};
        fg_scheduler_cancel(f->scheduler, &key);
        assert_int_equal(fg_kv_arena_orphan_worker(f->arena, 0, clock_now + FG_S), 1);
        assert_int_equal(adopt(f, f->scheduler, 1, s, got->tokens, known), FG_OK);
        run_dry(f);
        assert_same_outcome(got, &want);
        /* Nothing is computed twice. */
        assert_in_range(computed(f), before, 90 + 29);
    }
}

static void a_dead_workers_sequence_goes_on_from_its_last_token(void **state)
{
    struct fixture *f = *state;
    struct fg_sampling greedy = {.top_p = 1};
    struct fg_sampling seeded = {.temperature = 1.5f, .top_p = 0.9f, .seed = 99};
    assert_survives(f, &greedy, 0);
    assert_survives(f, &greedy, 3);
    assert_survives(f, &seeded, 1);
}

static void what_does_not_fit_the_request_is_not_adopted(void **state)
{
    struct fixture *f = *state;
    uint32_t tokens[PROMPT_MAX];
    make_prompt(tokens, 40, 0, 3);
    for (int kind = 0; kind < 4; kind++) {
        share(f);
        start_other(f);
        struct fg_channel_submit *s = a_stream(30, 1);
        submit_tokens(f, f->other, 1, tokens, 40, s);
        for (int i = 0; i < 8; i++)
            assert_true(fg_scheduler_step(f->other));
        uint32_t known = f->outcomes[1].token_count;
        fg_kv_arena_orphan_worker(f->arena, 0, clock_now + FG_S);
        if (kind == 0)
            s->sampling.seed = 5;
        if (kind == 1)
            s->max_tokens = 31;
        if (kind == 2)
            f->outcomes[1].tokens[0] ^= 1;
        if (kind == 3)
            s->stream_key++;
        assert_int_equal(adopt(f, f->scheduler, 1, s, f->outcomes[1].tokens, known),
                         FG_ERR_NOT_FOUND);
        struct fg_scheduler_key key = {2, 1};
        fg_scheduler_cancel(f->scheduler, &key);
        fg_kv_arena_reclaim_orphans(f->arena, UINT64_MAX);
    }
}

static void an_adopted_one_waits_for_a_place_with_its_blocks(void **state)
{
    struct fixture *f = *state;
    uint32_t tokens[PROMPT_MAX];
    make_prompt(tokens, 40, 0, 3);
    struct outcome want = alone(f, tokens, 40, 30);
    f->conf.batch_max = 1;
    share(f);
    start_other(f);
    struct fg_channel_submit *s = a_stream(30, 1);
    submit_tokens(f, f->other, 1, tokens, 40, s);
    for (int i = 0; i < 8; i++)
        assert_true(fg_scheduler_step(f->other));
    submit(f, 2, 20, 20);
    assert_true(fg_scheduler_step(f->scheduler));
    submit(f, 3, 20, 20);
    fg_kv_arena_orphan_worker(f->arena, 0, clock_now + FG_S);
    s = a_stream(30, 1);
    assert_int_equal(
        adopt(f, f->scheduler, 1, s, f->outcomes[1].tokens, f->outcomes[1].token_count), FG_OK);
    assert_int_equal(fg_scheduler_waiting(f->scheduler), 2);
    run_dry(f);
    assert_same_outcome(&f->outcomes[1], &want);
    assert_true(f->outcomes[3].is_done && f->outcomes[2].is_done);
    assert_int_equal(f->outcomes[3].order, 2);
}

static void prefill_hands_over_to_decode(void **state)
{
    struct fixture *f = *state;
    uint32_t tokens[PROMPT_MAX];
    make_prompt(tokens, 70, 0, 3);
    struct outcome want = alone(f, tokens, 70, 30);
    share(f);
    f->hands_over_after_prefill = true;
    start_other(f);
    struct fg_channel_submit *s = a_stream(30, 1);
    submit_tokens(f, f->other, 1, tokens, 70, s);
    while (!f->outcomes[1].is_refused)
        assert_true(fg_scheduler_step(f->other));
    assert_int_equal(f->outcomes[1].refused.reason, FG_REFUSAL_MOVED);
    assert_int_equal(f->outcomes[1].token_count, 1);
    uint32_t before = computed(f);
    assert_int_equal(adopt(f, f->scheduler, 1, s, f->outcomes[1].tokens, 1), FG_OK);
    run_dry(f);
    assert_same_outcome(&f->outcomes[1], &want);
    assert_int_equal(computed(f) - before, 29);
    /* Nobody else there: it goes on with it itself. */
    submit_tokens(f, f->other, 2, tokens, 70, a_stream(30, 2));
    while (!f->outcomes[2].is_refused)
        assert_true(fg_scheduler_step(f->other));
    assert_int_equal(adopt(f, f->other, 2, a_stream(30, 2), f->outcomes[2].tokens, 1), FG_OK);
    while (fg_scheduler_step(f->other))
        clock_now += FG_MS;
    assert_same_outcome(&f->outcomes[2], &want);
}

static void a_drain_leaves_what_runs_to_others(void **state)
{
    struct fixture *f = *state;
    uint32_t tokens[PROMPT_MAX];
    make_prompt(tokens, 70, 0, 3);
    struct outcome want = alone(f, tokens, 70, 30);
    share(f);
    start_other(f);
    submit_tokens(f, f->other, 1, tokens, 70, a_stream(30, 1));
    for (int i = 0; i < 10; i++)
        assert_true(fg_scheduler_step(f->other));
    fg_scheduler_drain(f->other);
    assert_int_equal(f->outcomes[1].refused.reason, FG_REFUSAL_DRAINING);
    assert_int_equal(adopt(f, f->scheduler, 1, a_stream(30, 1), f->outcomes[1].tokens,
                           f->outcomes[1].token_count),
                     FG_OK);
    run_dry(f);
    assert_same_outcome(&f->outcomes[1], &want);
}

int main(void)
{
#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(a_shared_prompt_is_computed_once),
        WITH_FIXTURE(another_tenant_computes_for_itself),
        WITH_FIXTURE(a_conversation_finds_its_own_answers),
        WITH_FIXTURE(a_prompt_of_whole_blocks_computes_one_token),
        WITH_FIXTURE(two_workers_compute_it_once),
        WITH_FIXTURE(blocks_are_taken_as_they_are_needed),
        WITH_FIXTURE(nobody_dies_for_memory),
        WITH_FIXTURE(a_higher_priority_takes_a_place_and_gives_it_back),
        WITH_FIXTURE(users_take_turns),
        WITH_FIXTURE(the_earlier_deadline_goes_first),
        WITH_FIXTURE(a_long_wait_counts_as_a_higher_priority),
        WITH_FIXTURE(a_step_is_cut_to_the_time_it_may_take),
        WITH_FIXTURE(a_long_prompt_gives_way_but_gets_on),
        WITH_FIXTURE(what_cannot_be_in_time_is_refused_at_once),
        WITH_FIXTURE(what_can_be_in_time_no_more_is_not_begun),
        WITH_FIXTURE(who_is_overtaken_and_too_late_by_that_is_told),
        WITH_FIXTURE(a_client_that_leaves_saves_what_is_left),
        WITH_FIXTURE(a_dead_workers_sequence_goes_on_from_its_last_token),
        WITH_FIXTURE(what_does_not_fit_the_request_is_not_adopted),
        WITH_FIXTURE(an_adopted_one_waits_for_a_place_with_its_blocks),
        WITH_FIXTURE(prefill_hands_over_to_decode),
        WITH_FIXTURE(a_drain_leaves_what_runs_to_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
