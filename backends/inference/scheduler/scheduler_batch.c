/*
 * scheduler_batch.c: what the next step computes.
 * Job      every decode first, then prompts in chunks up to the token budget; a suspect
 *          (policies/blame.h) alone.
 * Thread   the worker's loop.
 * Never    lets a prompt hold up a decode for longer than a step may take, or computes twice what
 *          two prompts have in common.
 * Source   chunked prefill beside decodes: Sarathi-Serve (Agrawal et al., OSDI 2024); several
 *          partial prompts in a step and a cap on the long ones: vllm-project/vllm#10235.
 */
#include "inference/scheduler/scheduler_internal.h"

#include <string.h>

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

/* Room for the token that each of them makes. */
static void grow_decodes(struct fg_scheduler *s)
{
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
}

static size_t add_decodes(struct fg_scheduler *s)
{
    size_t count = 0;
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (seq->state == FG_SEQUENCE_DECODE && !fg_blame_is_suspect(&seq->blame))
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

/* A suspect has its turn alone. */
static bool is_prompt_in_turn(const struct fg_sequence *seq)
{
    return seq->state == FG_SEQUENCE_PREFILL && !fg_blame_is_suspect(&seq->blame);
}

/* Prompts with little left first, in the order of service, then one of the long ones. */
static size_t add_prefills(struct fg_scheduler *s, size_t count, uint32_t budget)
{
    bool has_long = false;
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        const struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        has_long |= is_prompt_in_turn(seq) && left_of(seq) > s->prefill_long;
    }
    /* A long prompt always gets on, by a quarter of what there is. */
    uint32_t kept = has_long && budget >= 2 * FG_KV_BLOCK_TOKENS ? budget / 4 : 0;
    kept = kept > 0 && kept < FG_KV_BLOCK_TOKENS ? FG_KV_BLOCK_TOKENS : kept;
    uint32_t short_budget = budget - kept;
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (!is_prompt_in_turn(seq) || left_of(seq) > s->prefill_long || short_budget == 0)
            continue;
        short_budget -= add_prefill(s, &count, seq, short_budget);
    }
    budget = short_budget + kept;
    bool is_taken = false;
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (is_prompt_in_turn(seq) && left_of(seq) > s->prefill_long && !is_taken && budget > 0)
            is_taken = add_prefill(s, &count, seq, budget) > 0;
    }
    return count;
}

/*
 * The next step of one that may have killed the last worker, and of nothing else; 0: there is none
 * of so little guilt, or none that can get on now. Whoever decodes has room for its token already.
 */
static size_t build_suspect(struct fg_scheduler *s, uint32_t guilt_max)
{
    size_t count = 0;
    uint32_t budget =
        fg_step_cost_budget(&s->cost, 0, s->step_ns, FG_KV_BLOCK_TOKENS, s->step_tokens_max);
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (count > 0 || !fg_blame_is_suspect(&seq->blame) || seq->blame.guilt > guilt_max)
            continue;
        if (seq->state == FG_SEQUENCE_DECODE)
            add_run(s, count++, seq, seq->tokens.ids + seq->computed, 1, true);
        else
            (void)add_prefill(s, &count, seq, budget);
    }
    return count;
}

/* Those against whom least is known go first: they are clear of it before the next one dies. */
static size_t build_suspects(struct fg_scheduler *s)
{
    uint32_t least = UINT32_MAX;
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        const struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (fg_blame_is_suspect(&seq->blame) && seq->blame.guilt < least)
            least = seq->blame.guilt;
    }
    size_t count = least < UINT32_MAX ? build_suspect(s, least) : 0;
    return count == 0 && least < UINT32_MAX ? build_suspect(s, UINT32_MAX) : count;
}

static bool has_suspect(const struct fg_list *list)
{
    bool is_found = false;
    for (const struct fg_list *it = list->next; it != list && !is_found; it = it->next)
        is_found = fg_blame_is_suspect(&FG_SEQUENCE_OF(it)->blame);
    return is_found;
}

bool fg_scheduler_has_suspects(const struct fg_scheduler *s)
{
    return has_suspect(&s->running) || has_suspect(&s->waiting);
}

size_t fg_scheduler_build_batch(struct fg_scheduler *s)
{
    grow_decodes(s);
    size_t suspect = build_suspects(s);
    if (suspect > 0)
        return suspect;
    size_t decodes = add_decodes(s);
    uint32_t most = s->step_tokens_max - (uint32_t)decodes;
    uint32_t budget =
        fg_step_cost_budget(&s->cost, (uint32_t)decodes, s->step_ns, FG_KV_BLOCK_TOKENS, most);
    return s->state_counts[FG_SEQUENCE_PREFILL] > 0 ? add_prefills(s, decodes, budget) : decodes;
}
