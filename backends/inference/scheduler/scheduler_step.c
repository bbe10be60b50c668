/*
 * scheduler_step.c: one step: refuse what waited too long, admit, batch, run, sample, tell.
 * Job      the batch is every decode first, then prompts in chunks up to the token budget.
 * Thread   the worker's loop.
 * Never    lets a prompt hold up a decode for longer than a step may take, computes twice what two
 *          prompts have in common, or tells a client of a token that the arena does not have.
 * Source   chunked prefill beside decodes: Sarathi-Serve (Agrawal et al., OSDI 2024); several
 *          partial prompts in a step and a cap on the long ones: vllm-project/vllm#10235.
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
    uint32_t count = 0;
    FG_LIST_EACH_SAFE(it, after, &s->waiting)
    count += !fg_sequence_was_admitted(FG_SEQUENCE_OF(it));
    for (; count > s->waiting_max; count--)
        fg_sequence_refuse(s, fg_scheduler_last_waiting(s), FG_REFUSAL_QUEUE_FULL,
                           "too many requests are waiting for inference");
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

static size_t add_decodes(struct fg_scheduler *s)
{
    size_t count = 0;
    /* Growing may preempt any of them, this one and the next included: begin anew after it did. */
    for (struct fg_list *it = s->running.next; it != &s->running;) {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        uint64_t before = fg_counter_get(&s->record->preemptions);
        bool has_grown = seq->state != FG_SEQUENCE_DECODE || fg_sequence_grow(s, seq);
        if (!has_grown || fg_counter_get(&s->record->preemptions) != before)
            it = s->running.next;
        else
            it = it->next;
    }
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (seq->state == FG_SEQUENCE_DECODE)
            add_run(s, count++, seq, seq->tokens.ids + seq->computed, 1, true);
    }
    return count;
}

/* Blocks of `seq` that another has computed are taken over; false: another is about to. */
static bool share_next(struct fg_scheduler *s, struct fg_sequence *seq, uint32_t *chunk)
{
    uint32_t first = seq->computed / FG_KV_BLOCK_TOKENS;
    uint32_t most =
        (fg_sequence_count(seq) - 1) / FG_KV_BLOCK_TOKENS; /* the last is never shared */
    uint32_t wanted = (seq->computed + *chunk) / FG_KV_BLOCK_TOKENS;
    uint32_t *table = fg_sequence_table(s, seq);
    if (seq->computed % FG_KV_BLOCK_TOKENS != 0 || first >= most || !fg_sequence_shares(s, seq))
        return true;
    uint32_t end = wanted > first ? wanted : first + 1;
    end = end < most ? end : most;
    struct fg_kv_claimed claimed = fg_kv_arena_sequence_claim(s->arena, seq->kv, first, end - first,
                                                              seq->hashes + first, table + first);
    uint32_t shared = claimed.shared * FG_KV_BLOCK_TOKENS;
    if (shared > 0) {
        seq->computed += shared;
        seq->cached += shared;
        fg_kv_arena_sequence_computed(s->arena, seq->kv, seq->computed);
        fg_counter_add_owned(&s->record->tokens_cached, shared);
    }
    /* No further than to the first block that another has or computes. */
    if (first + claimed.shared + claimed.claimed < end)
        *chunk = claimed.claimed * FG_KV_BLOCK_TOKENS;
    else
        *chunk = *chunk > shared ? *chunk - shared : 0;
    return !claimed.is_pending;
}

/*
 * The end of a prompt that another choice of the request has read: the last block is copied, and
 * only the last token is left to compute. False: another one is about to read it.
 */
static bool copy_tail(struct fg_scheduler *s, struct fg_sequence *seq)
{
    uint32_t at = (seq->prompt_count - 1) / FG_KV_BLOCK_TOKENS; /* the first that is not shared */
    bool is_pending = false;
    if (seq->group == 0 || seq->computed < at * FG_KV_BLOCK_TOKENS ||
        seq->computed + 1 >= seq->prompt_count)
        return true;
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        const struct fg_sequence *other = FG_SEQUENCE_OF(it);
        if (other->group != seq->group || other == seq)
            continue;
        if (other->computed < seq->prompt_count) {
            is_pending |= other->state == FG_SEQUENCE_PREFILL && other->arrival < seq->arrival;
            continue;
        }
        struct fg_kv_store store = fg_kv_arena_store(s->arena);
        size_t bytes = fg_kv_block_bytes(&store.shape);
        memcpy(store.data + fg_sequence_table(s, seq)[at] * bytes,
               store.data + fg_sequence_table(s, other)[at] * bytes, bytes);
        uint32_t copied = seq->prompt_count - 1 - seq->computed;
        seq->computed += copied;
        seq->cached += copied;
        fg_kv_arena_sequence_computed(s->arena, seq->kv, seq->computed);
        fg_counter_add_owned(&s->record->tokens_cached, copied);
        return true;
    }
    return !is_pending;
}

/* What is kept of a run's states for an embedding. */
static void pool_run(const struct fg_scheduler *s, struct fg_sequence *seq,
                     struct fg_batch_run *run, bool is_last)
{
    if (seq->computed == 0) /* the first, or the first again */
        memset(seq->pooled, 0, s->width * sizeof(*seq->pooled));
    run->pools_all = seq->task == FG_TASK_EMBED_MEAN;
    run->pooled = run->pools_all || is_last ? seq->pooled : NULL;
}

/* A prompt's next chunk of at most `budget` tokens; returns what it took. */
static uint32_t add_prefill(struct fg_scheduler *s, size_t *count, struct fg_sequence *seq,
                            uint32_t budget)
{
    for (;;) {
        if (!copy_tail(s, seq))
            return 0;
        uint32_t left = fg_sequence_count(seq) - seq->computed;
        uint32_t chunk = left < s->prefill_chunk ? left : s->prefill_chunk;
        chunk = chunk < budget ? chunk : budget;
        uint32_t end = seq->computed + chunk;
        uint32_t aligned = end / FG_KV_BLOCK_TOKENS * FG_KV_BLOCK_TOKENS;
        if (chunk < left && aligned > seq->computed)
            chunk = aligned - seq->computed; /* whole blocks, which others can share */
        uint32_t before = seq->computed;
        if (!share_next(s, seq, &chunk))
            return 0;
        if (chunk == 0 && seq->computed > before)
            continue; /* the whole chunk was there already */
        if (chunk == 0)
            return 0;
        bool is_last = seq->computed + chunk == fg_sequence_count(seq);
        bool is_embedding = seq->task != FG_TASK_GENERATE;
        add_run(s, *count, seq, seq->tokens.ids + seq->computed, chunk, is_last && !is_embedding);
        if (is_embedding)
            pool_run(s, seq, &s->runs[*count], is_last);
        (*count)++;
        return chunk;
    }
}

static uint32_t left_of(const struct fg_sequence *seq)
{
    return fg_sequence_count(seq) - seq->computed;
}

/* Prompts with little left first, in the order of service, then one of the long ones. */
static size_t add_prefills(struct fg_scheduler *s, size_t count, uint32_t budget)
{
    bool has_long = false;
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        const struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        has_long |= seq->state == FG_SEQUENCE_PREFILL && left_of(seq) > s->prefill_long;
    }
    /* A long prompt always gets on, by a quarter of what there is. */
    uint32_t kept = has_long && budget >= 2 * FG_KV_BLOCK_TOKENS ? budget / 4 : 0;
    kept = kept > 0 && kept < FG_KV_BLOCK_TOKENS ? FG_KV_BLOCK_TOKENS : kept;
    uint32_t short_budget = budget - kept;
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (seq->state != FG_SEQUENCE_PREFILL || left_of(seq) > s->prefill_long ||
            short_budget == 0)
            continue;
        short_budget -= add_prefill(s, &count, seq, short_budget);
    }
    budget = short_budget + kept;
    bool is_taken = false;
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (seq->state == FG_SEQUENCE_PREFILL && left_of(seq) > s->prefill_long && !is_taken &&
            budget > 0)
            is_taken = add_prefill(s, &count, seq, budget) > 0;
    }
    return count;
}

/* Fills runs and owner; returns how many runs. */
static size_t build_batch(struct fg_scheduler *s)
{
    size_t decodes = add_decodes(s);
    uint32_t most = s->step_tokens_max - (uint32_t)decodes;
    uint32_t budget =
        fg_step_cost_budget(&s->cost, (uint32_t)decodes, s->step_ns, FG_KV_BLOCK_TOKENS, most);
    return s->state_counts[FG_SEQUENCE_PREFILL] > 0 ? add_prefills(s, decodes, budget) : decodes;
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
        fg_sequence_done(s, seq, FG_FINISH_STOP, true);
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
static void compute(struct fg_scheduler *s, size_t count, uint64_t now_ns)
{
    uint64_t tokens = 0;
    uint64_t positions = 0;
    for (size_t i = 0; i < count; i++) {
        tokens += s->runs[i].count;
        positions += s->runs[i].start_position + s->runs[i].count;
    }
    struct fg_kv_worker_record *record = s->record;
    uint64_t began_ns = thread_cpu_ns();
    fg_counter_set(&record->computing_since_ns, now_ns);
    fg_counter_set(&record->computing_cpu_ns, began_ns);
    fg_counter_set(&record->computing_expected_ns,
                   fg_step_bound_expect(&s->bound, tokens, positions));
    fg_counter_set(&record->computing, fg_counter_get(&record->steps) + 1);
    fg_executor_step(s->executor, s->runs, count);
    fg_counter_set(&record->computing, 0);
    fg_step_bound_learn(&s->bound, tokens, positions, thread_cpu_ns() - began_ns);
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
    compute(s, count, started_ns);
    uint64_t now_ns = s->clock_ns();
    fg_step_cost_learn(&s->cost, decodes, prefill_tokens,
                       now_ns > started_ns ? now_ns - started_ns : 0);
    learn_pace(s, decodes, now_ns);
    fg_counter_set(&s->record->heartbeat_ns, now_ns);
    fg_counter_add_owned(&s->record->steps, 1);
    fg_counter_add_owned(&s->record->batch_sequences, count);
    return now_ns;
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
    size_t count = build_batch(s);
    s->is_stalled = count == 0 && fg_scheduler_running(s) > 0;
    if (s->state_counts[FG_SEQUENCE_DECODE] == 0) { /* what was so is no more */
        s->pace_ns = 0;
        s->paced_ns = 0;
    }
    if (count == 0)
        return false;
    now_ns = run_batch(s, count, now_ns);
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
