/*
 * scheduler_adopt.c: sequences that change workers: what another left is taken over from the arena
 * with all its blocks, and what goes to another is left there.
 * Thread   the worker's loop.
 * Never    sends a token twice or leaves one out: what the gateway has is replayed in silence, what
 *          was generated beyond it is sent.
 */
#include "inference/scheduler/scheduler_internal.h"

#include <assert.h>
#include <string.h>

/* Whether what the arena has of it is what the request says, and what the gateway has seen. */
static bool is_the_same(const struct fg_scheduler *s, const struct fg_sequence *seq,
                        const struct fg_kv_adopted *adopted, const unsigned char *resumed,
                        uint32_t resumed_count)
{
    uint64_t most = (uint64_t)adopted->info.prompt_count + seq->max_tokens;
    uint32_t generated = adopted->token_count - adopted->info.prompt_count;
    if (adopted->info.prompt_count == 0 || adopted->info.max_tokens != seq->max_tokens ||
        resumed_count > generated || generated > seq->max_tokens || most > s->context_max ||
        memcmp(&adopted->info.sampling, &seq->sampling, sizeof(seq->sampling)) != 0)
        return false;
    const uint32_t *tokens = s->adopted_tokens + adopted->info.prompt_count;
    for (uint32_t i = 0; i < resumed_count; i++) {
        if (fg_read_u32(resumed + (size_t)i * 4) != tokens[i])
            return false;
    }
    return true;
}

static bool take_tokens(const struct fg_scheduler *s, struct fg_sequence *seq,
                        const struct fg_kv_adopted *adopted)
{
    seq->prompt_count = adopted->info.prompt_count;
    seq->blocks_needed = fg_blocks_for((uint64_t)seq->prompt_count + seq->max_tokens);
    if (!fg_sequence_make_room(seq))
        return false;
    memcpy(seq->tokens.ids, s->adopted_tokens, seq->prompt_count * sizeof(uint32_t));
    seq->tokens.count = seq->prompt_count;
    return true;
}

/* Brings text and stream to where the arena is; false when the sequence ended on the way. */
static bool replay(struct fg_scheduler *s, struct fg_sequence *seq, uint32_t generated,
                   uint32_t known, uint64_t now_ns)
{
    for (uint32_t i = 0; i < generated; i++) {
        uint32_t token = s->adopted_tokens[seq->prompt_count + i];
        if (i >= known) {
            const struct fg_sequence_token taken = {.id = token, .is_recorded = true};
            if (!fg_sequence_take(s, seq, &taken, now_ns))
                return false;
            continue;
        }
        size_t len;
        seq->tokens.ids[seq->tokens.count++] = token;
        seq->generated++;
        (void)fg_sequence_text(s, seq, token, &len); /* what it wrote was sent then */
        (void)fg_token_rules_take(seq->rules, s->tokenizer, token);
    }
    return true;
}

/* Workers died computing it, and nothing else: no other is to follow them. */
static void give_up_guilty(struct fg_scheduler *s, struct fg_sequence *seq,
                           const struct fg_kv_sequence_id *adopted)
{
    if (adopted != NULL)
        fg_kv_arena_sequence_close(s->arena, *adopted);
    fg_sequence_refuse(s, seq, FG_REFUSAL_FATAL,
                       "inference workers died while they computed this request");
}

enum fg_status fg_scheduler_adopt(struct fg_scheduler *s, struct fg_scheduler_ticket ticket,
                                  const unsigned char *resumed, uint32_t resumed_count)
{
    struct fg_sequence *seq = fg_scheduler_find(s, ticket);
    if (seq == NULL)
        return FG_OK;
    if (seq->stream_key == 0)
        return FG_ERR_NOT_FOUND;
    struct fg_kv_adopted adopted;
    /* The table is read again when there is a place for it; this is room to read it into. */
    uint32_t *blocks = s->adopted_blocks;
    enum fg_status status =
        fg_kv_arena_adopt(s->arena, s->worker_index, seq->stream_key, &adopted, blocks,
                          s->adopted_tokens, s->table_max * FG_KV_BLOCK_TOKENS);
    seq->blame = adopted.info.blame;
    if (fg_blame_is_guilty(&seq->blame)) {
        give_up_guilty(s, seq, status == FG_OK ? &adopted.id : NULL);
        return FG_OK;
    }
    if (status != FG_OK)
        return status;
    if (!is_the_same(s, seq, &adopted, resumed, resumed_count) || !take_tokens(s, seq, &adopted)) {
        fg_kv_arena_sequence_close(s->arena, adopted.id);
        return FG_ERR_NOT_FOUND;
    }
    seq->kv = adopted.id;
    seq->has_kv = true;
    seq->is_resumed = true;
    seq->block_count = adopted.block_count;
    seq->computed = adopted.computed;
    uint32_t generated = adopted.token_count - adopted.info.prompt_count;
    if (seq->sampling.logprob_count > 0 && generated > resumed_count) {
        /* What goes with a token is not in the arena: those that were not sent are made again. */
        generated = resumed_count;
        uint32_t last = seq->prompt_count + generated - 1;
        seq->computed = seq->computed < last ? seq->computed : last;
        fg_kv_arena_sequence_rewind(s->arena, seq->kv, last + 1, seq->computed);
    }
    if (!replay(s, seq, generated, resumed_count, s->clock_ns()))
        return FG_OK;
    fg_sequence_hash(s, seq);
    fg_sequence_wait(s, seq);
    return FG_OK;
}

void fg_sequence_hand_over(struct fg_scheduler *s, struct fg_sequence *seq, enum fg_refusal reason,
                           const char *message)
{
    if (seq->has_kv)
        fg_kv_arena_sequence_hand_over(s->arena, seq->kv,
                                       fg_saturating_add(s->clock_ns(), s->orphan_ns));
    seq->has_kv = false;
    fg_sequence_refuse(s, seq, reason, message);
}
