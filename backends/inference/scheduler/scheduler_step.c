/*
 * scheduler_step.c: one step: refuse what waited too long, admit, batch, run, sample, tell.
 * Job      the batch is every decode first, then prompts in chunks up to the token budget.
 * Thread   the worker's loop.
 * Never    lets a prompt hold up a decode for more than one step's budget, nor runs a sequence
 *          without all the blocks that it can ever need.
 * Source   chunked prefill beside decodes: Sarathi-Serve (Agrawal et al., OSDI 2024).
 */
#include "inference/scheduler/scheduler_internal.h"

#include "base/clock.h"

#include <assert.h>

/* How often to look for blocks that another worker gave back, when nothing runs here. */
#define BLOCK_POLL_NS (5 * FG_MS)

static uint64_t saturating_add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t wait_ends_ns(const struct fg_scheduler *s, const struct fg_sequence *seq)
{
    return saturating_add(seq->submitted_ns, s->wait_max_ns);
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
        if (now_ns < wait_ends_ns(s, seq))
            continue;
        if (lacks_place)
            fg_sequence_refuse(s, seq, FG_REFUSAL_QUEUE_FULL,
                               "no place in the batch came free in time");
        else
            fg_sequence_refuse(s, seq, FG_REFUSAL_NO_BLOCKS,
                               "no memory for the request came free in time");
    }
}

/* More than waiting_max may have entered while places in the batch were free; the last ones go. */
static void refuse_excess(struct fg_scheduler *s)
{
    while (s->state_counts[FG_SEQUENCE_WAITING] > s->waiting_max)
        fg_sequence_refuse(s, FG_SEQUENCE_OF(s->waiting.prev), FG_REFUSAL_QUEUE_FULL,
                           "too many requests are waiting for inference");
}

/* Reserves all the blocks of `seq` and gives it a place in the batch; false when it must wait on.
 */
static bool try_admit(struct fg_scheduler *s, struct fg_sequence *seq, uint64_t now_ns)
{
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(s->arena, &gauges);
    if (gauges.blocks_free < seq->blocks_needed)
        return false;
    uint32_t place = s->batch_free[s->batch_free_count - 1];
    uint32_t *table = s->tables + (size_t)place * s->table_max;
    enum fg_status status =
        fg_kv_arena_sequence_reserve(s->arena, seq->kv, seq->blocks_needed, table);
    if (status == FG_ERR_NO_MEMORY)
        return false;
    if (status != FG_OK) {
        /* Its slot in the arena is gone: dropped by a repair, or reclaimed by mistake. */
        fg_sequence_refuse(s, seq, FG_REFUSAL_INTERNAL, "the request's memory was taken back");
        return true;
    }
    s->batch_free_count--;
    seq->batch_slot = place;
    seq->scheduled_ns = now_ns;
    fg_sequence_set_state(s, seq, FG_SEQUENCE_PREFILL);
    fg_list_remove(&seq->link);
    fg_sequence_enqueue(&s->running, seq);
    return true;
}

static void admit(struct fg_scheduler *s, uint64_t now_ns)
{
    while (!fg_list_is_empty(&s->waiting) && s->batch_free_count > 0) {
        if (!try_admit(s, FG_SEQUENCE_OF(s->waiting.next), now_ns))
            break;
    }
}

static float *logits_of(const struct fg_scheduler *s, const struct fg_sequence *seq)
{
    return s->logits + (size_t)seq->batch_slot * s->vocab_count;
}

static void add_run(struct fg_scheduler *s, size_t at, struct fg_sequence *seq,
                    const uint32_t *tokens, uint32_t count, bool wants_logits)
{
    s->owner[at] = seq;
    s->runs[at] = (struct fg_batch_run){
        .tokens = tokens,
        .count = count,
        .start_position = seq->computed,
        .block_table = s->tables + (size_t)seq->batch_slot * s->table_max,
        .logits = wants_logits ? logits_of(s, seq) : NULL,
    };
}

/* Fills runs and owner; returns how many runs. */
static size_t build_batch(struct fg_scheduler *s)
{
    size_t count = 0;
    uint32_t budget = s->step_tokens_max;
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (seq->state != FG_SEQUENCE_DECODE)
            continue;
        assert(budget > 0); /* batch_max is at most the budget */
        add_run(s, count++, seq, &seq->last_token, 1, true);
        budget--;
    }
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (seq->state != FG_SEQUENCE_PREFILL || budget == 0)
            continue;
        uint32_t left = (uint32_t)seq->prompt.count - seq->computed;
        uint32_t chunk = left < s->prefill_chunk ? left : s->prefill_chunk;
        chunk = chunk < budget ? chunk : budget;
        add_run(s, count++, seq, seq->prompt.ids + seq->computed, chunk, chunk == left);
        budget -= chunk;
    }
    return count;
}

/* A generated token: into the stream, unless it ends it. */
static void take_token(struct fg_scheduler *s, struct fg_sequence *seq, uint32_t token,
                       uint64_t now_ns)
{
    if (seq->first_token_ns == 0)
        seq->first_token_ns = now_ns;
    seq->last_token_ns = now_ns;
    if (fg_tokenizer_is_end(s->tokenizer, token) && !seq->ignore_end) {
        fg_sequence_done(s, seq, FG_FINISH_STOP, true);
        return;
    }
    size_t len = 0;
    bool is_stopped = fg_sequence_text(s, seq, token, &len);
    struct fg_channel_token event = {
        .index = seq->generated,
        .token = token,
        .text = fg_span_make(s->out, len),
    };
    seq->generated++;
    seq->last_token = token;
    s->events.on_token(&seq->key, &event, s->events.owner);
    if (is_stopped)
        fg_sequence_done(s, seq, FG_FINISH_STOP, false);
    else if (seq->generated >= seq->max_tokens)
        fg_sequence_done(s, seq, FG_FINISH_LENGTH, true);
}

/* What a run of the batch came to. */
static void finish_run(struct fg_scheduler *s, struct fg_sequence *seq,
                       const struct fg_batch_run *run, uint64_t now_ns)
{
    fg_kv_arena_sequence_append(s->arena, seq->kv, run->tokens, run->count,
                                saturating_add(now_ns, s->lease_ns));
    seq->computed += run->count;
    bool is_prefill = seq->state == FG_SEQUENCE_PREFILL;
    fg_counter_add_owned(is_prefill ? &s->record->tokens_prefill : &s->record->tokens_decode,
                         run->count);
    if (run->logits == NULL)
        return;
    if (is_prefill) {
        fg_token_list_fini(&seq->prompt);
        seq->prompt = (struct fg_token_list){0};
        fg_sequence_set_state(s, seq, FG_SEQUENCE_DECODE);
    }
    uint32_t token =
        fg_sampler_pick(&seq->sampling, run->logits, s->vocab_count, seq->computed, s->sampler);
    take_token(s, seq, token, now_ns);
}

bool fg_scheduler_step(struct fg_scheduler *s)
{
    uint64_t now_ns = s->clock_ns();
    fg_counter_set(&s->record->heartbeat_ns, now_ns);
    expire_deadlines(s, &s->preparing, now_ns);
    expire_deadlines(s, &s->waiting, now_ns);
    expire_deadlines(s, &s->running, now_ns);
    admit(s, now_ns);
    expire_waits(s, now_ns);
    refuse_excess(s);
    size_t count = build_batch(s);
    if (count == 0)
        return false;
    fg_executor_step(s->executor, s->runs, count);
    now_ns = s->clock_ns();
    fg_counter_set(&s->record->heartbeat_ns, now_ns);
    fg_counter_add_owned(&s->record->steps, 1);
    for (size_t i = 0; i < count; i++)
        finish_run(s, s->owner[i], &s->runs[i], now_ns);
    fg_scheduler_count_rates(s, now_ns);
    return true;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t fg_scheduler_wake_ns(const struct fg_scheduler *s)
{
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
