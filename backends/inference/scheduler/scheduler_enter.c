/*
 * scheduler_enter.c: how a request becomes sequences that wait for their turn.
 * Job      a place and a ticket while its prompt is prepared elsewhere (enter); then what can never
 *          be done is refused, tokens of an earlier worker are replayed, the rest waits (submit).
 *          The choices of one request enter together, and share the prompt of the first.
 * Thread   the worker's loop.
 */
#include "inference/scheduler/scheduler_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(FG_STOP_COUNT_MAX == FG_CHANNEL_STOPS_MAX, "a request's stops fit the matcher");

/* In a full queue a newcomer of a better number gets the place of the last in line. */
static bool displace(struct fg_scheduler *s, uint32_t number)
{
    struct fg_sequence *last = fg_scheduler_last_waiting(s);
    if (last == NULL || last->right <= number)
        return false;
    fg_sequence_refuse(s, last, FG_REFUSAL_QUEUE_FULL,
                       "requests of a higher priority took the place in the queue");
    return true;
}

/* Why a request cannot even take a place; NULL when it can. */
static const char *entry_refusal(struct fg_scheduler *s, const struct fg_channel_submit *submit,
                                 enum fg_refusal *reason)
{
    *reason = FG_REFUSAL_DRAINING;
    if (s->is_draining)
        return "the worker is being stopped";
    *reason = FG_REFUSAL_DEADLINE;
    if (submit->deadline_ns != 0 && s->clock_ns() >= submit->deadline_ns)
        return "the deadline had passed before the request reached the worker";
    *reason = FG_REFUSAL_TOO_LONG;
    if (submit->max_tokens >= s->context_max)
        return "max_tokens leaves no room for a prompt in the context";
    *reason = FG_REFUSAL_QUEUE_FULL;
    if (fg_list_is_empty(&s->free) && !displace(s, submit->priority_number))
        return "too many requests are waiting for inference";
    return NULL;
}

/* What the request needs beside its tokens; says why it cannot be had, or NULL. `first`: its
 * choice that has entered already, or NULL. */
static const char *make_parts(const struct fg_scheduler *s, struct fg_sequence *seq,
                              const struct fg_channel_submit *submit,
                              const struct fg_sequence *first, struct fg_error *error)
{
    if (first != NULL && first->rules != NULL)
        return fg_token_rules_copy(&seq->rules, first->rules) == FG_OK
                   ? NULL
                   : "the worker is out of memory";
    if (submit->task != FG_TASK_GENERATE) {
        seq->pooled = calloc(s->width, sizeof(*seq->pooled));
        return seq->pooled == NULL ? "the worker is out of memory" : NULL;
    }
    struct fg_token_bias biases[FG_CHANNEL_BIASES_MAX];
    for (uint32_t i = 0; i < submit->bias_count; i++) {
        const unsigned char *at = submit->bias + i * FG_CHANNEL_BIAS_BYTES;
        uint32_t bits = fg_read_u32(at + 4);
        biases[i].token = fg_read_u32(at);
        memcpy(&biases[i].bias, &bits, sizeof(bits));
    }
    const struct fg_token_rules_options options = {
        .biases = biases,
        .bias_count = submit->bias_count,
        .is_json = submit->constraint == FG_CONSTRAINT_JSON,
        .schema = submit->schema,
    };
    switch (fg_token_rules_create(&seq->rules, &options, error)) {
    case FG_OK:
        return NULL;
    case FG_ERR_CONFIG:
        return error->message;
    default:
        return "the worker is out of memory";
    }
}

/* Refuses what cannot be done before its deadline; true when it may wait for its turn. */
static bool check_deadline(struct fg_scheduler *s, struct fg_sequence *seq, uint32_t prompt_count)
{
    struct fg_lateness lateness;
    uint32_t cached = 0;
    if (seq->is_resumed) /* was let in once */
        return true;
    if (seq->hash_count > 0)
        cached = fg_kv_arena_count_cached(s->arena, seq->hashes, seq->hash_count, seq->tokens.ids) *
                 FG_KV_BLOCK_TOKENS;
    uint64_t now_ns = s->clock_ns();
    if (fg_scheduler_can_meet(s, seq, prompt_count, cached, now_ns, &lateness)) {
        seq->predicted_ns = fg_scheduler_predict_ttft(s, seq, prompt_count, cached);
        return true;
    }
    fg_sequence_refuse_late(s, seq, &lateness);
    return false;
}

/* What the `choice`-th of a submission's requests is, over a free sequence. */
static void fill(const struct fg_scheduler *s, struct fg_sequence *seq,
                 const struct fg_channel_submit *submit, uint32_t choice)
{
    seq->number = submit->priority_number;
    seq->right = submit->priority_number;
    seq->is_resumed = submit->resumed_count > 0;
    seq->is_promised = false;
    seq->ignore_end = submit->ignore_end;
    seq->deadline_ns = submit->deadline_ns;
    seq->task = submit->task;
    seq->blame = (struct fg_blame){0};
    seq->stream_key = submit->stream_key;
    if (submit->stream_key != 0)
        seq->stream_key += (uint64_t)choice * FG_CHANNEL_CHOICE_KEYS;
    /* Choices of one request share their prompt, whatever is said about others'. */
    seq->salt = s->shares_prefixes ? submit->cache_salt : submit->stream_key;
    seq->max_tokens = submit->max_tokens;
    seq->sampling = submit->sampling;
    seq->sampling.seed += choice;
    seq->hash_count = 0;
    seq->prompt_count = 0;
    seq->blocks_needed = 0;
    seq->block_count = 0;
    seq->computed = 0;
    seq->cached = 0;
    seq->generated = 0;
    seq->preemptions = 0;
    seq->detok = (struct fg_detokenizer){0};
    seq->scheduled_ns = 0;
    seq->first_token_ns = 0;
    seq->last_token_ns = 0;
    seq->predicted_ns = 0;
}

/* Takes a free place for one choice, 0 or one behind `first`; NULL when it has been refused. */
static struct fg_sequence *enter_one(struct fg_scheduler *s, const struct fg_scheduler_key *key,
                                     const struct fg_channel_submit *submit, uint32_t choice,
                                     const struct fg_sequence *first)
{
    struct fg_error error;
    const char *why = NULL;
    if (fg_list_is_empty(&s->free)) {
        fg_scheduler_turn_away(s, key, FG_REFUSAL_QUEUE_FULL, fg_scheduler_queue_figures(s),
                               "too many requests are waiting for inference");
        return NULL;
    }
    struct fg_sequence *seq = FG_SEQUENCE_OF(s->free.next);
    if (!fg_stop_match_init(&seq->stop, submit->stops, submit->stop_count))
        why = "a stop string is longer than the 256 bytes that are possible";
    else
        why = make_parts(s, seq, submit, first, &error);
    if (why != NULL) {
        fg_scheduler_turn_away(s, key, FG_REFUSAL_BAD_PROMPT, (struct fg_scheduler_figures){0, 0},
                               why);
        return NULL;
    }
    fg_list_remove(&seq->link);
    fill(s, seq, submit, choice);
    seq->key = *key;
    seq->arrival = s->arrivals++;
    seq->group = 0;
    seq->user = fg_kv_arena_user_enter(s->arena, s->worker_index, submit->user_hash, &seq->work);
    seq->charge = 0;
    seq->submitted_ns = s->clock_ns();
    fg_sequence_set_state(s, seq, FG_SEQUENCE_PREPARING);
    fg_list_push_back(&s->preparing, &seq->link);
    return seq;
}

/* The first one could not enter, so none does. */
static void refuse_others(struct fg_scheduler *s, const struct fg_scheduler_key *key,
                          uint32_t choice_count)
{
    for (uint32_t i = 1; i < choice_count; i++) {
        struct fg_scheduler_key other = {key->connection, key->request_id + i};
        fg_scheduler_turn_away(
            s, &other, s->is_draining ? FG_REFUSAL_DRAINING : FG_REFUSAL_INTERNAL,
            (struct fg_scheduler_figures){0, 0}, "the request's first choice was refused");
    }
}

static void enter_others(struct fg_scheduler *s, struct fg_sequence *first,
                         const struct fg_channel_submit *submit)
{
    first->group = first->arrival + 1;
    for (uint32_t i = 1; i < submit->choice_count; i++) {
        struct fg_scheduler_key key = {first->key.connection, first->key.request_id + i};
        struct fg_sequence *other = enter_one(s, &key, submit, i, first);
        if (other != NULL)
            other->group = first->group;
    }
}

enum fg_status fg_scheduler_enter(struct fg_scheduler *s, const struct fg_scheduler_key *key,
                                  const struct fg_channel_submit *submit,
                                  struct fg_scheduler_ticket *out)
{
    for (uint32_t i = 0; i < submit->choice_count; i++) {
        struct fg_scheduler_key each = {key->connection, key->request_id + i};
        if (fg_scheduler_find_key(s, &each) != NULL)
            return FG_ERR_INVALID;
    }
    enum fg_refusal reason;
    struct fg_sequence *seq = NULL;
    struct fg_scheduler_figures figures = {0, 0};
    const char *why = entry_refusal(s, submit, &reason);
    if (reason == FG_REFUSAL_QUEUE_FULL)
        figures = fg_scheduler_queue_figures(s);
    if (why != NULL)
        fg_scheduler_turn_away(s, key, reason, figures, why);
    else
        seq = enter_one(s, key, submit, 0, NULL);
    /* What waits already may be too much, however short the prompt turns out to be. */
    if (seq == NULL || (!submit->may_adopt && !check_deadline(s, seq, 1))) {
        refuse_others(s, key, submit->choice_count);
        return FG_ERR_BUSY;
    }
    if (submit->choice_count > 1)
        enter_others(s, seq, submit);
    *out = (struct fg_scheduler_ticket){seq->slot, seq->generation};
    return FG_OK;
}

/* Puts the resumed tokens behind the prompt, which has room for them. */
static void append_resumed(struct fg_token_list *list, const unsigned char *resumed, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        list->ids[list->count++] = fg_read_u32(resumed + (size_t)i * 4);
}

/* The blocks are known from here on; says why the request can never run, or NULL. */
static const char *prompt_refusal(struct fg_scheduler *s, struct fg_sequence *seq,
                                  enum fg_refusal *reason, char *text, size_t text_bytes)
{
    *reason = FG_REFUSAL_BAD_PROMPT;
    if (seq->prompt_count == 0)
        return "the prompt is empty";
    *reason = FG_REFUSAL_TOO_LONG;
    uint64_t tokens = (uint64_t)seq->prompt_count + seq->max_tokens;
    uint64_t blocks = (tokens + FG_KV_BLOCK_TOKENS - 1) / FG_KV_BLOCK_TOKENS;
    uint64_t most = (uint64_t)s->table_max * FG_KV_BLOCK_TOKENS;
    most = most < s->context_max ? most : s->context_max;
    if (tokens > s->context_max || blocks > s->table_max) {
        snprintf(text, text_bytes,
                 "the prompt has %u tokens and max_tokens is %u; expected at most %llu together",
                 seq->prompt_count, seq->max_tokens, (unsigned long long)most);
        return text;
    }
    seq->blocks_needed = (uint32_t)blocks;
    *reason = FG_REFUSAL_BAD_PROMPT;
    for (size_t i = 0; i < seq->tokens.count; i++) {
        if (seq->tokens.ids[i] >= s->vocab_count)
            return "a token of the prompt is not in the model's vocabulary";
    }
    return NULL;
}

/*
 * Bring detokenizer and stop strings to where they were after the resumed tokens; what they write
 * was sent then. Returns false when the sequence turned out to be complete, and has been ended.
 */
static bool replay_resumed(struct fg_scheduler *s, struct fg_sequence *seq)
{
    for (size_t i = seq->prompt_count; i < seq->tokens.count; i++) {
        size_t len;
        uint32_t token = seq->tokens.ids[i];
        if (fg_tokenizer_is_end(s->tokenizer, token) && !seq->ignore_end) {
            fg_sequence_done(s, seq, FG_FINISH_STOP, true);
            return false;
        }
        seq->generated++;
        if (fg_sequence_text(s, seq, token, &len)) {
            fg_sequence_done(s, seq, FG_FINISH_STOP, false);
            return false;
        }
        if (fg_token_rules_take(seq->rules, s->tokenizer, token)) {
            fg_sequence_done(s, seq, FG_FINISH_STOP, true);
            return false;
        }
    }
    if (seq->generated >= seq->max_tokens) {
        fg_sequence_done(s, seq, FG_FINISH_LENGTH, true);
        return false;
    }
    return true;
}

static bool open_in_arena(struct fg_scheduler *s, struct fg_sequence *seq)
{
    struct fg_kv_sequence_info info = {
        .stream_key = seq->stream_key,
        .is_resumable = fg_sequence_is_resumable(seq),
        .blame = seq->blame,
        .sampling = seq->sampling,
        .prompt_count = seq->prompt_count,
        .max_tokens = seq->max_tokens,
        .priority_number = seq->number,
    };
    seq->has_kv = fg_kv_arena_sequence_open(s->arena, s->worker_index, &info, &seq->kv) == FG_OK;
    return seq->has_kv;
}

/* What makes the request impossible from the start, and its arena slot. */
static bool prepare_sequence(struct fg_scheduler *s, struct fg_sequence *seq,
                             const unsigned char *resumed, uint32_t resumed_count)
{
    char text[160];
    enum fg_refusal reason = FG_REFUSAL_INTERNAL;
    const char *why = NULL;
    if (fg_sequence_make_room(seq) && resumed_count <= seq->max_tokens)
        append_resumed(&seq->tokens, resumed, resumed_count);
    else
        why = "the worker is out of memory";
    if (why == NULL)
        why = prompt_refusal(s, seq, &reason, text, sizeof(text));
    if (why != NULL) {
        fg_sequence_refuse(s, seq, reason, why);
        return false;
    }
    if (!replay_resumed(s, seq))
        return false;
    fg_sequence_hash(s, seq);
    bool is_first = seq->group == 0 || seq->group == seq->arrival + 1;
    if (is_first && !check_deadline(s, seq, seq->prompt_count))
        return false;
    if (open_in_arena(s, seq))
        return true;
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(s->arena, &gauges);
    fg_sequence_refuse_with(s, seq, FG_REFUSAL_QUEUE_FULL,
                            (struct fg_scheduler_figures){gauges.sequences, gauges.sequences_max},
                            "too many sequences are in the inference pool");
    return false;
}

static bool copy_prompt(struct fg_sequence *seq, const struct fg_sequence *from)
{
    uint32_t *ids = malloc(((size_t)from->prompt_count + 1) * sizeof(*ids));
    if (ids == NULL)
        return false;
    memcpy(ids, from->tokens.ids, from->prompt_count * sizeof(*ids));
    seq->tokens = (struct fg_token_list){.ids = ids, .count = from->prompt_count};
    seq->tokens.capacity = (size_t)from->prompt_count + 1;
    seq->prompt_count = from->prompt_count;
    return true;
}

/*
 * The other choices get the prompt of the first, which waits by now, or is NULL because it could
 * not. Whether there is time was asked for the first: they are let in with it.
 */
static void submit_others(struct fg_scheduler *s, uint64_t group, const struct fg_sequence *first)
{
    FG_LIST_EACH_SAFE(it, after, &s->preparing)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (seq->group != group)
            continue;
        if (first == NULL)
            fg_sequence_refuse(s, seq, FG_REFUSAL_INTERNAL,
                               "the request's first choice was refused");
        else if (!copy_prompt(seq, first))
            fg_sequence_refuse(s, seq, FG_REFUSAL_INTERNAL, "the worker is out of memory");
        else if (prepare_sequence(s, seq, NULL, 0))
            fg_sequence_wait(s, seq);
    }
}

void fg_scheduler_submit(struct fg_scheduler *s, struct fg_scheduler_ticket ticket,
                         struct fg_token_list *prompt, const unsigned char *resumed,
                         uint32_t resumed_count)
{
    struct fg_sequence *seq = fg_scheduler_find(s, ticket);
    if (seq == NULL) {
        fg_token_list_fini(prompt);
        *prompt = (struct fg_token_list){0};
        return;
    }
    assert(seq->state == FG_SEQUENCE_PREPARING);
    uint64_t group = seq->group;
    seq->tokens = *prompt;
    *prompt = (struct fg_token_list){0};
    seq->prompt_count = (uint32_t)seq->tokens.count;
    bool is_in = prepare_sequence(s, seq, resumed, resumed_count);
    if (is_in) {
        fg_sequence_wait(s, seq);
        fg_scheduler_refuse_overtaken(s, seq);
    }
    if (group != 0)
        submit_others(s, group, is_in ? seq : NULL);
}

void fg_scheduler_reject(struct fg_scheduler *s, struct fg_scheduler_ticket ticket,
                         enum fg_refusal reason, struct fg_scheduler_figures figures,
                         const char *message)
{
    struct fg_sequence *seq = fg_scheduler_find(s, ticket);
    if (seq == NULL)
        return;
    uint64_t group = seq->group;
    fg_sequence_refuse_with(s, seq, reason, figures, message);
    if (group != 0)
        submit_others(s, group, NULL);
}
