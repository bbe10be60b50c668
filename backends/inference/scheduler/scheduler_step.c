/*
 * scheduler_step.c: one step: refuse what waited too long, admit, batch, run, sample, tell.
 * Thread   the worker's loop.
 * Never    tells a client of a token that the arena does not have, or takes a death's mark off a
 *          sequence whose results are not recorded.
 */
#include "inference/scheduler/scheduler_internal.h"

#include "base/clock.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <time.h>

/* How often to look for blocks that another worker gave back, when nothing runs here. */
#define BLOCK_POLL_NS (5 * FG_MS)
/* And for blocks that another worker computes for us, too. */
#define STALL_POLL_NS (1 * FG_MS)

static uint64_t wait_ends_ns(const struct fg_scheduler *s, const struct fg_sequence *seq)
{
    return fg_saturating_add(seq->submitted_ns, s->wait_max_ns);
}

static bool deadline_passed(const struct fg_sequence *seq, uint64_t now_ns)
{
    return seq->deadline_ns != 0 && now_ns >= seq->deadline_ns;
}

static void expire_deadlines(struct fg_scheduler *s, struct fg_list *list, uint64_t now_ns)
{
    FG_LIST_EACH_SAFE(it, after, list)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (deadline_passed(seq, now_ns))
            fg_sequence_refuse(s, seq, FG_REFUSAL_DEADLINE, "the deadline passed");
    }
}

/* Ends the wait of those that had wait_max, telling what they waited for. */
static void expire_waits(struct fg_scheduler *s, uint64_t now_ns)
{
    bool lacks_place = s->batch_free_count == 0;
    FG_LIST_EACH_SAFE(it, after, &s->waiting)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (now_ns < wait_ends_ns(s, seq) || fg_sequence_was_admitted(seq))
            continue;
        if (lacks_place)
            fg_sequence_refuse_with(s, seq, FG_REFUSAL_QUEUE_FULL,
                                    (struct fg_scheduler_figures){s->batch_max, s->batch_max},
                                    "no place in the batch came free in time");
        else
            fg_sequence_refuse(s, seq, FG_REFUSAL_NO_BLOCKS,
                               "no memory for the request came free in time");
    }
}

/* More than waiting_max may have entered while places in the batch were free; the last ones go. */
static void refuse_excess(struct fg_scheduler *s)
{
    uint32_t count = 0;
    FG_LIST_EACH_SAFE(it, after, &s->waiting)
    count += !fg_sequence_was_admitted(FG_SEQUENCE_OF(it));
    for (; count > s->waiting_max; count--)
        fg_sequence_refuse(s, fg_scheduler_last_waiting(s), FG_REFUSAL_QUEUE_FULL,
                           "too many requests are waiting for inference");
}

/* The token's own logprob first, then the likeliest ones. */
static void tell_logprobs(const struct fg_scheduler *s, const struct fg_sequence_token *taken,
                          struct fg_channel_token *event)
{
    const struct fg_logprobs *logprobs = taken->logprobs;
    event->logprob_count = 1 + logprobs->count;
    event->logprobs[0] =
        (struct fg_channel_logprob){taken->logprob, fg_tokenizer_bytes(s->tokenizer, taken->id)};
    for (uint32_t i = 0; i < logprobs->count; i++)
        event->logprobs[1 + i] = (struct fg_channel_logprob){
            logprobs->top[i].logprob, fg_tokenizer_bytes(s->tokenizer, logprobs->top[i].token)};
}

bool fg_sequence_take(struct fg_scheduler *s, struct fg_sequence *seq,
                      const struct fg_sequence_token *taken, uint64_t now_ns)
{
    uint32_t token = taken->id;
    bool is_first = seq->first_token_ns == 0;
    if (is_first)
        seq->first_token_ns = now_ns;
    seq->last_token_ns = now_ns;
    if (is_first && seq->generated == 0)
        fg_scheduler_judge_prediction(s, seq);
    if (fg_tokenizer_is_end(s->tokenizer, token) && !seq->ignore_end) {
        fg_sequence_done(s, seq, FG_FINISH_STOP, true);
        return false;
    }
    /* First where it survives us, then to the client. */
    if (!taken->is_recorded)
        (void)fg_kv_arena_sequence_record(s->arena, seq->kv, token, seq->computed);
    seq->charge += FG_VTC_WEIGHT_OUTPUT;
    size_t len = 0;
    bool is_stopped = fg_sequence_text(s, seq, token, &len);
    struct fg_channel_token event = {
        .index = seq->generated,
        .token = token,
        .text = fg_span_make(s->out, len),
    };
    if (taken->logprobs != NULL)
        tell_logprobs(s, taken, &event);
    bool is_over = fg_token_rules_take(seq->rules, s->tokenizer, token);
    assert(seq->tokens.count < seq->tokens.capacity);
    seq->tokens.ids[seq->tokens.count++] = token;
    seq->generated++;
    s->events.on_token(&seq->key, &event, s->events.owner);
    if (!is_stopped && !is_over && seq->generated < seq->max_tokens)
        return true;
    fg_sequence_done(s, seq, is_stopped || is_over ? FG_FINISH_STOP : FG_FINISH_LENGTH,
                     !is_stopped);
    return false;
}

/* Draws the next token of `seq` from its row of logits and takes it; false when that was the last.
 */
static bool sample(struct fg_scheduler *s, struct fg_sequence *seq, float *logits, uint64_t now_ns)
{
    const struct fg_token_history history = {seq->tokens.ids, seq->tokens.count, seq->prompt_count};
    struct fg_logprobs logprobs;
    struct fg_sequence_token taken = {0};
    if (seq->sampling.logprob_count > 0) {
        memcpy(s->raw_logits, logits, s->vocab_count * sizeof(*logits));
        fg_logprobs_compute(&logprobs, logits, s->vocab_count, seq->sampling.logprob_count - 1);
        taken.logprobs = &logprobs;
    }
    taken.id = fg_token_rules_pick(seq->rules, &seq->sampling, s->tokenizer, &history, &s->marks,
                                   logits, s->sampler);
    if (taken.id == UINT32_MAX) {
        /* No token goes on, by its biases or for want of a byte: cut short, unless it is whole. */
        bool is_whole = fg_token_rules_may_end(seq->rules);
        fg_sequence_done(s, seq, is_whole ? FG_FINISH_STOP : FG_FINISH_LENGTH, true);
        return false;
    }
    if (taken.logprobs != NULL)
        taken.logprob = fg_logprobs_of(&logprobs, s->raw_logits[taken.id]);
    return fg_sequence_take(s, seq, &taken, now_ns);
}

/* Blocks that have become full in this step: others may share them. */
static void commit_blocks(struct fg_scheduler *s, struct fg_sequence *seq, uint32_t computed_before)
{
    fg_sequence_hash(s, seq);
    uint32_t first = computed_before / FG_KV_BLOCK_TOKENS;
    uint32_t end = seq->computed / FG_KV_BLOCK_TOKENS;
    end = end < seq->hash_count ? end : seq->hash_count;
    if (end > first)
        fg_kv_arena_sequence_commit(s->arena, seq->kv, first, end - first, seq->hashes + first);
}

/* The sum at length 1, which is the mean at length 1. */
static void end_embedding(struct fg_scheduler *s, struct fg_sequence *seq, uint64_t now_ns)
{
    double squares = 0;
    for (uint32_t i = 0; i < s->width; i++)
        squares += (double)seq->pooled[i] * (double)seq->pooled[i];
    double scale = squares > 0 ? 1 / sqrt(squares) : 0;
    for (uint32_t i = 0; i < s->width; i++)
        seq->pooled[i] = (float)((double)seq->pooled[i] * scale);
    seq->first_token_ns = now_ns;
    seq->last_token_ns = now_ns;
    fg_sequence_done(s, seq, FG_FINISH_STOP, true);
}

/* What a run of the batch came to. */
static void finish_run(struct fg_scheduler *s, struct fg_sequence *seq,
                       const struct fg_batch_run *run, uint64_t now_ns)
{
    uint32_t before = seq->computed;
    seq->computed += run->count;
    commit_blocks(s, seq, before);
    bool is_prefill = seq->state == FG_SEQUENCE_PREFILL;
    fg_counter_add_owned(is_prefill ? &s->record->tokens_prefill : &s->record->tokens_decode,
                         run->count);
    if (run->logits == NULL) {
        fg_kv_arena_sequence_computed(s->arena, seq->kv, seq->computed);
        if (seq->task != FG_TASK_GENERATE && seq->computed == seq->tokens.count)
            end_embedding(s, seq, now_ns);
        return;
    }
    if (is_prefill)
        fg_sequence_set_state(s, seq, FG_SEQUENCE_DECODE);
    assert(seq->computed == seq->tokens.count);
    bool is_new = seq->generated == 0;
    if (sample(s, seq, run->logits, now_ns) && is_new && s->hands_over_after_prefill &&
        !seq->is_resumed && seq->stream_key != 0)
        fg_sequence_hand_over(s, seq, FG_REFUSAL_MOVED, "another worker goes on with it");
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * FG_S + (uint64_t)used.tv_nsec;
}

/* The batch is computed, and whoever watches can tell whether we get on. */
static void compute(struct fg_scheduler *s, size_t count)
{
    uint64_t tokens = 0;
    uint64_t positions = 0;
    for (size_t i = 0; i < count; i++) {
        tokens += s->runs[i].count;
        positions += s->runs[i].start_position + s->runs[i].count;
    }
    struct fg_kv_worker_record *record = s->record;
    uint64_t began_ns = thread_cpu_ns();
    uint64_t beats = fg_counter_get(&record->beats);
    fg_counter_set(&record->beat_cpu_ns, fg_step_bound_expect(&s->bound, tokens, positions));
    fg_counter_set(&record->computing, fg_counter_get(&record->steps) + 1);
    fg_executor_step(s->executor, s->runs, count);
    fg_counter_set(&record->computing, 0);
    beats = fg_counter_get(&record->beats) - beats;
    /* The helpers' time is taken for as much as our own. */
    if (beats > 0)
        fg_step_bound_learn(&s->bound, tokens, positions,
                            (thread_cpu_ns() - began_ns) * s->thread_count / beats);
}

/* How fast streams get on, with all that is done between their tokens. */
static void learn_pace(struct fg_scheduler *s, uint32_t decodes, uint64_t now_ns)
{
    if (decodes == 0)
        return;
    if (s->paced_ns != 0 && now_ns > s->paced_ns) {
        double sample = (double)(now_ns - s->paced_ns);
        s->pace_ns += s->pace_ns > 0 ? (sample - s->pace_ns) / 16 : sample;
    }
    s->paced_ns = now_ns;
}

/* Runs the batch of `count` and learns from how long it took. */
static uint64_t run_batch(struct fg_scheduler *s, size_t count, uint64_t started_ns)
{
    uint32_t decodes = 0;
    uint32_t prefill_tokens = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_decode = s->owner[i]->state == FG_SEQUENCE_DECODE;
        decodes += is_decode;
        prefill_tokens += is_decode ? 0 : s->runs[i].count;
    }
    compute(s, count);
    uint64_t now_ns = s->clock_ns();
    fg_step_cost_learn(&s->cost, decodes, prefill_tokens,
                       now_ns > started_ns ? now_ns - started_ns : 0);
    learn_pace(s, decodes, now_ns);
    fg_counter_set(&s->record->heartbeat_ns, now_ns);
    fg_counter_add_owned(&s->record->steps, 1);
    fg_counter_add_owned(&s->record->batch_sequences, count);
    return now_ns;
}

/* From here on a death is blamed on these, one by one until its results are recorded. */
static void begin_step(struct fg_scheduler *s, size_t count)
{
    for (size_t i = 0; i < count; i++)
        s->parts[i] =
            (struct fg_kv_step_part){s->owner[i]->kv, s->runs[i].start_position + s->runs[i].count};
    fg_kv_arena_step_begin(s->arena, s->parts, (uint32_t)count);
}

static void end_step(struct fg_scheduler *s, struct fg_sequence *seq)
{
    if (fg_kv_arena_step_end(s->arena, seq->kv, seq->computed))
        seq->blame = (struct fg_blame){0};
}

bool fg_scheduler_step(struct fg_scheduler *s)
{
    uint64_t now_ns = s->clock_ns();
    fg_counter_set(&s->record->heartbeat_ns, now_ns);
    expire_deadlines(s, &s->preparing, now_ns);
    expire_deadlines(s, &s->waiting, now_ns);
    expire_deadlines(s, &s->running, now_ns);
    fg_scheduler_admit(s, now_ns);
    expire_waits(s, now_ns);
    refuse_excess(s);
    fg_scheduler_sync_work(s);
    size_t count = fg_scheduler_build_batch(s);
    s->is_stalled = count == 0 && fg_scheduler_running(s) > 0;
    if (s->state_counts[FG_SEQUENCE_DECODE] == 0) { /* what was so is no more */
        s->pace_ns = 0;
        s->paced_ns = 0;
    }
    if (count == 0)
        return false;
    begin_step(s, count);
    now_ns = run_batch(s, count, now_ns);
    for (size_t i = 0; i < count; i++) {
        uint32_t generation = s->owner[i]->generation;
        finish_run(s, s->owner[i], &s->runs[i], now_ns);
        if (s->owner[i]->generation == generation)
            end_step(s, s->owner[i]);
    }
    fg_scheduler_count_rates(s, now_ns);
    return true;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t fg_scheduler_wake_ns(const struct fg_scheduler *s)
{
    if (s->is_stalled)
        return s->clock_ns() + STALL_POLL_NS;
    if (fg_scheduler_running(s) > 0)
        return 0;
    uint64_t wake_ns = UINT64_MAX;
    FG_LIST_EACH_SAFE(it, after, &s->preparing)
    {
        const struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (seq->deadline_ns != 0)
            wake_ns = earliest(wake_ns, seq->deadline_ns);
    }
    /* Nothing runs here, so what waits, waits for blocks that another worker holds. */
    if (!fg_list_is_empty(&s->waiting))
        wake_ns = earliest(wake_ns, s->clock_ns() + BLOCK_POLL_NS);
    return wake_ns;
}
