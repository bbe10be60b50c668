/*
 * scheduler.c: the sequences a scheduler holds, and how they leave it; scheduler_enter.c lets them
 * in, scheduler_step.c runs them.
 * Job      states, tickets, refusals with an honest Retry-After, cancel, drain.
 * Thread   the worker's loop.
 * Never    leaves an end without giving back blocks, batch slot and arena slot: fg_sequence_release
 * is the one way out of every state.
 */
#include "inference/scheduler/scheduler_internal.h"

#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MIN_MS 100u
#define RETRY_MAX_MS 60000u
#define RATE_WINDOW_NS (250 * FG_MS)
#define MOVE(state) (1u << (state))

_Static_assert(FG_REFUSAL_COUNT <= FG_KV_REFUSAL_COUNT, "every reason has its counter");

static const uint8_t legal_moves[FG_SEQUENCE_STATE_COUNT] = {
    [FG_SEQUENCE_FREE] = MOVE(FG_SEQUENCE_PREPARING),
    [FG_SEQUENCE_PREPARING] = MOVE(FG_SEQUENCE_WAITING) | MOVE(FG_SEQUENCE_FREE),
    [FG_SEQUENCE_WAITING] =
        MOVE(FG_SEQUENCE_PREFILL) | MOVE(FG_SEQUENCE_DECODE) | MOVE(FG_SEQUENCE_FREE),
    [FG_SEQUENCE_PREFILL] =
        MOVE(FG_SEQUENCE_DECODE) | MOVE(FG_SEQUENCE_WAITING) | MOVE(FG_SEQUENCE_FREE),
    [FG_SEQUENCE_DECODE] = MOVE(FG_SEQUENCE_WAITING) | MOVE(FG_SEQUENCE_FREE),
};

uint32_t fg_scheduler_waiting(const struct fg_scheduler *s)
{
    return s->state_counts[FG_SEQUENCE_PREPARING] + s->state_counts[FG_SEQUENCE_WAITING];
}

uint32_t fg_scheduler_running(const struct fg_scheduler *s)
{
    return s->state_counts[FG_SEQUENCE_PREFILL] + s->state_counts[FG_SEQUENCE_DECODE];
}

void fg_sequence_set_state(struct fg_scheduler *s, struct fg_sequence *seq,
                           enum fg_sequence_state next)
{
    assert((legal_moves[seq->state] & MOVE(next)) != 0);
    if (seq->state == FG_SEQUENCE_WAITING)
        s->blocks_wanted -= seq->blocks_needed;
    if (next == FG_SEQUENCE_WAITING)
        s->blocks_wanted += seq->blocks_needed;
    s->state_counts[seq->state]--;
    s->state_counts[next]++;
    seq->state = next;
    fg_counter_set(&s->record->waiting, fg_scheduler_waiting(s));
    fg_counter_set(&s->record->running, fg_scheduler_running(s));
}

void fg_sequence_enqueue(struct fg_list *list, struct fg_sequence *seq)
{
    struct fg_list *after = list->prev;
    while (after != list) {
        const struct fg_sequence *other = FG_SEQUENCE_OF(after);
        if (other->right != seq->right             ? other->right < seq->right
            : other->is_resumed != seq->is_resumed ? other->is_resumed
            : fg_sequence_deadline(other) != fg_sequence_deadline(seq)
                ? fg_sequence_deadline(other) < fg_sequence_deadline(seq)
                : other->arrival < seq->arrival)
            break;
        after = after->prev;
    }
    fg_list_insert_between(after, &seq->link, after->next);
}

static void count_rate(struct fg_rate *rate, uint64_t total, uint64_t now_ns)
{
    if (now_ns < rate->window_start_ns + RATE_WINDOW_NS)
        return;
    double elapsed_s = (double)(now_ns - rate->window_start_ns) / (double)FG_S;
    double per_s = (double)(total - rate->total_at_start) / elapsed_s;
    rate->per_s = rate->per_s > 0 ? 0.75 * rate->per_s + 0.25 * per_s : per_s;
    rate->window_start_ns = now_ns;
    rate->total_at_start = total;
}

void fg_scheduler_count_rates(struct fg_scheduler *s, uint64_t now_ns)
{
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(s->arena, &gauges);
    count_rate(&s->block_rate, gauges.blocks_released, now_ns);
    count_rate(&s->finish_rate, s->finished, now_ns);
}

static double ms_at_rate(double count, const struct fg_rate *rate, double otherwise_ms)
{
    if (count <= 0)
        return 0;
    return rate->per_s > 0 ? count * 1000.0 / rate->per_s : otherwise_ms;
}

uint32_t fg_scheduler_retry_after_ms(struct fg_scheduler *s, uint64_t blocks_needed)
{
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(s->arena, &gauges);
    fg_scheduler_count_rates(s, s->clock_ns());
    /* Whichever runs short decides: memory, or places in the batch. */
    double otherwise_ms = (double)s->wait_max_ns / (double)FG_MS;
    double blocks = (double)s->blocks_wanted + (double)blocks_needed -
                    (double)(gauges.blocks_free + gauges.blocks_cached);
    double places = (double)fg_scheduler_waiting(s) + 1 -
                    ((double)s->batch_max - (double)fg_scheduler_running(s));
    double blocks_ms = ms_at_rate(blocks, &s->block_rate, otherwise_ms);
    double places_ms = ms_at_rate(places, &s->finish_rate, otherwise_ms);
    double ms = blocks_ms > places_ms ? blocks_ms : places_ms;
    if (ms < RETRY_MIN_MS)
        return RETRY_MIN_MS;
    return ms > RETRY_MAX_MS ? RETRY_MAX_MS : (uint32_t)ms;
}

/* Whether trying again can help. */
static bool is_retryable(enum fg_refusal reason)
{
    return reason == FG_REFUSAL_QUEUE_FULL || reason == FG_REFUSAL_NO_BLOCKS;
}

void fg_scheduler_say_refused(struct fg_scheduler *s, const struct fg_scheduler_key *key,
                              const struct fg_channel_refused *refused, uint64_t blocks_needed)
{
    struct fg_channel_refused says = *refused;
    if (is_retryable(says.reason))
        says.retry_after_ms = fg_scheduler_retry_after_ms(s, blocks_needed);
    fg_counter_add_owned(&s->record->refused[says.reason], 1);
    s->events.on_refused(key, &says, s->events.owner);
}

struct fg_scheduler_figures fg_scheduler_queue_figures(const struct fg_scheduler *s)
{
    return (struct fg_scheduler_figures){fg_scheduler_waiting(s), s->waiting_max};
}

/* Blocks that are in use and those that it would take, and how many there are. */
static struct fg_scheduler_figures block_figures(const struct fg_scheduler *s, uint64_t needed)
{
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(s->arena, &gauges);
    uint64_t used = gauges.blocks_total - gauges.blocks_free - gauges.blocks_cached;
    return (struct fg_scheduler_figures){used + needed, gauges.blocks_total};
}

void fg_scheduler_turn_away(struct fg_scheduler *s, const struct fg_scheduler_key *key,
                            enum fg_refusal reason, struct fg_scheduler_figures figures,
                            const char *message)
{
    const struct fg_channel_refused refused = {.reason = reason,
                                               .value = figures.value,
                                               .limit = figures.limit,
                                               .message = fg_span_from_string(message)};
    fg_scheduler_say_refused(s, key, &refused, 1);
}

void fg_sequence_release(struct fg_scheduler *s, struct fg_sequence *seq)
{
    if (seq->state == FG_SEQUENCE_PREFILL || seq->state == FG_SEQUENCE_DECODE) {
        assert(s->batch_free_count < s->batch_max);
        s->batch_free[s->batch_free_count++] = seq->batch_slot;
    }
    if (seq->has_kv)
        fg_kv_arena_sequence_close(s->arena, seq->kv);
    seq->has_kv = false;
    fg_kv_arena_user_leave(s->arena, s->worker_index, seq->user, seq->charge);
    fg_token_list_fini(&seq->tokens);
    seq->tokens = (struct fg_token_list){0};
    free(seq->hashes);
    seq->hashes = NULL;
    fg_token_rules_destroy(seq->rules);
    seq->rules = NULL;
    free(seq->pooled);
    seq->pooled = NULL;
    fg_sequence_set_state(s, seq, FG_SEQUENCE_FREE);
    seq->generation++; /* tickets out there find nothing any more */
    fg_list_remove(&seq->link);
    fg_list_push_front(&s->free, &seq->link);
}

void fg_sequence_refuse_with(struct fg_scheduler *s, struct fg_sequence *seq,
                             enum fg_refusal reason, struct fg_scheduler_figures figures,
                             const char *message)
{
    struct fg_scheduler_key key = seq->key;
    /* One that waits is among the wanted blocks already. */
    uint32_t blocks_needed = seq->state == FG_SEQUENCE_WAITING ? 0 : seq->blocks_needed;
    const struct fg_channel_refused refused = {.reason = reason,
                                               .value = figures.value,
                                               .limit = figures.limit,
                                               .message = fg_span_from_string(message)};
    fg_scheduler_say_refused(s, &key, &refused, blocks_needed);
    fg_sequence_release(s, seq);
}

void fg_sequence_refuse(struct fg_scheduler *s, struct fg_sequence *seq, enum fg_refusal reason,
                        const char *message)
{
    struct fg_scheduler_figures figures = {0, 0};
    if (reason == FG_REFUSAL_QUEUE_FULL)
        figures = fg_scheduler_queue_figures(s);
    else if (reason == FG_REFUSAL_NO_BLOCKS)
        figures = block_figures(s, seq->blocks_needed);
    fg_sequence_refuse_with(s, seq, reason, figures, message);
}

void fg_scheduler_sync_work(struct fg_scheduler *s)
{
    uint32_t count = 0;
    struct fg_list *lists[] = {&s->preparing, &s->waiting, &s->running};
    for (size_t i = 0; i < 3; i++) {
        FG_LIST_EACH_SAFE(it, after, lists[i])
        {
            struct fg_sequence *seq = FG_SEQUENCE_OF(it);
            s->works[count++] = (struct fg_kv_user_work){seq->user, seq->charge, 0};
            seq->charge = 0;
        }
    }
    if (count == 0)
        return;
    fg_kv_arena_users_sync(s->arena, s->worker_index, s->works, count);
    count = 0;
    for (size_t i = 0; i < 3; i++) {
        FG_LIST_EACH_SAFE(it, after, lists[i])
        FG_SEQUENCE_OF(it)->work = s->works[count++].work;
    }
}

static uint64_t since(uint64_t from_ns, uint64_t to_ns)
{
    return from_ns != 0 && to_ns > from_ns ? to_ns - from_ns : 0;
}

void fg_sequence_done(struct fg_scheduler *s, struct fg_sequence *seq, enum fg_finish finish,
                      bool flush_held)
{
    size_t held = 0;
    if (flush_held) {
        held = fg_stop_match_finish(&seq->stop, s->out);
        held += fg_detokenizer_finish(&seq->detok, s->out + held, 8);
    }
    uint64_t scheduled_ns = seq->scheduled_ns != 0 ? seq->scheduled_ns : s->clock_ns();
    struct fg_channel_done done = {
        .finish = finish,
        .text = seq->pooled != NULL
                    ? fg_span_make((const char *)seq->pooled, s->width * sizeof(*seq->pooled))
                    : fg_span_make(s->out, held),
        .prompt_tokens = seq->prompt_count,
        .completion_tokens = seq->generated,
        .cached_tokens = seq->cached,
        .queue_ns = since(seq->submitted_ns, scheduled_ns),
        .prefill_ns = since(seq->scheduled_ns, seq->first_token_ns),
        .decode_ns = since(seq->first_token_ns, seq->last_token_ns),
    };
    s->finished++;
    double tokens = seq->generated > 0 ? seq->generated : 1;
    s->answer_tokens += s->answer_tokens > 0 ? (tokens - s->answer_tokens) / 8 : tokens;
    s->events.on_done(&seq->key, &done, s->events.owner);
    fg_sequence_release(s, seq);
}

bool fg_sequence_text(struct fg_scheduler *s, struct fg_sequence *seq, uint32_t token, size_t *len)
{
    size_t text_len = fg_detokenizer_push(&seq->detok, s->tokenizer, token, s->text, s->text_bytes);
    assert(text_len <= s->text_bytes);
    return fg_stop_match_push(&seq->stop, fg_span_make(s->text, text_len), s->out, len);
}

struct fg_sequence *fg_scheduler_find(const struct fg_scheduler *s,
                                      struct fg_scheduler_ticket ticket)
{
    assert(ticket.slot < s->sequence_count);
    struct fg_sequence *seq = &s->sequences[ticket.slot];
    return seq->state != FG_SEQUENCE_FREE && seq->generation == ticket.generation ? seq : NULL;
}

struct fg_sequence *fg_scheduler_find_key(const struct fg_scheduler *s,
                                          const struct fg_scheduler_key *key)
{
    for (uint32_t i = 0; i < s->sequence_count; i++) {
        struct fg_sequence *seq = &s->sequences[i];
        if (seq->state != FG_SEQUENCE_FREE && seq->key.connection == key->connection &&
            seq->key.request_id == key->request_id)
            return seq;
    }
    return NULL;
}

void fg_sequence_refuse_late(struct fg_scheduler *s, struct fg_sequence *seq,
                             const struct fg_lateness *lateness)
{
    struct fg_scheduler_key key = seq->key;
    const struct fg_channel_refused refused = {
        .reason = FG_REFUSAL_LATE,
        .retry_after_ms = lateness->retry_after_ms,
        .value = lateness->needed_ms,
        .limit = lateness->left_ms,
        .message = FG_SPAN("the answer would not be there before the request's deadline")};
    fg_scheduler_say_refused(s, &key, &refused, 0);
    fg_sequence_release(s, seq);
}

bool fg_scheduler_is_wanted(const struct fg_scheduler *s, struct fg_scheduler_ticket ticket)
{
    return fg_scheduler_find(s, ticket) != NULL;
}

bool fg_sequence_make_room(struct fg_sequence *seq)
{
    size_t capacity = (size_t)seq->prompt_count + seq->max_tokens;
    uint32_t *ids = realloc(seq->tokens.ids, capacity * sizeof(*ids));
    if (ids == NULL)
        return false;
    seq->tokens.ids = ids;
    seq->tokens.capacity = capacity;
    seq->hashes = calloc(capacity / FG_KV_BLOCK_TOKENS + 1, sizeof(*seq->hashes));
    return seq->hashes != NULL;
}

void fg_sequence_hash(const struct fg_scheduler *s, struct fg_sequence *seq)
{
    static const struct fg_kv_hash none = {0, 0};
    uint32_t full = fg_sequence_count(seq) / FG_KV_BLOCK_TOKENS;
    if (!fg_sequence_shares(s, seq))
        return;
    for (; seq->hash_count < full; seq->hash_count++) {
        uint32_t at = seq->hash_count;
        seq->hashes[at] =
            fg_kv_arena_hash(s->arena, at == 0 ? &none : &seq->hashes[at - 1], seq->salt,
                             seq->tokens.ids + (size_t)at * FG_KV_BLOCK_TOKENS);
    }
}

void fg_sequence_wait(struct fg_scheduler *s, struct fg_sequence *seq)
{
    fg_sequence_set_state(s, seq, FG_SEQUENCE_WAITING);
    fg_list_remove(&seq->link);
    fg_list_push_back(&s->waiting, &seq->link);
}

static void cancel(struct fg_scheduler *s, struct fg_sequence *seq)
{
    fg_counter_add_owned(&s->record->tokens_saved, seq->max_tokens - seq->generated);
    fg_sequence_release(s, seq);
}

void fg_scheduler_cancel(struct fg_scheduler *s, const struct fg_scheduler_key *key)
{
    struct fg_sequence *seq = fg_scheduler_find_key(s, key);
    if (seq != NULL)
        cancel(s, seq);
}

void fg_scheduler_cancel_connection(struct fg_scheduler *s, uint64_t connection)
{
    for (uint32_t i = 0; i < s->sequence_count; i++) {
        struct fg_sequence *seq = &s->sequences[i];
        if (seq->state != FG_SEQUENCE_FREE && seq->key.connection == connection)
            cancel(s, seq);
    }
}

static void refuse_list(struct fg_scheduler *s, struct fg_list *list)
{
    FG_LIST_EACH_SAFE(it, after, list)
    fg_sequence_hand_over(s, FG_SEQUENCE_OF(it), FG_REFUSAL_DRAINING,
                          "the worker is being stopped");
}

void fg_scheduler_drain(struct fg_scheduler *s)
{
    s->is_draining = true;
    refuse_list(s, &s->preparing);
    refuse_list(s, &s->waiting);
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (fg_sequence_is_resumable(seq))
            fg_sequence_hand_over(s, seq, FG_REFUSAL_DRAINING, "the worker is being stopped");
    }
}

void fg_scheduler_evict(struct fg_scheduler *s)
{
    fg_scheduler_drain(s);
    refuse_list(s, &s->running);
}

static bool allocate(struct fg_scheduler *s)
{
    size_t batch = s->batch_max;
    s->sequences = calloc(s->sequence_count, sizeof(*s->sequences));
    s->batch_free = calloc(batch, sizeof(*s->batch_free));
    s->tables = calloc(batch * s->table_max, sizeof(*s->tables));
    s->logits = calloc(batch * s->vocab_count, sizeof(*s->logits));
    s->runs = calloc(batch, sizeof(*s->runs));
    s->owner = calloc(batch, sizeof(struct fg_sequence *));
    s->parts = calloc(batch, sizeof(*s->parts));
    s->works = calloc(s->sequence_count, sizeof(*s->works));
    s->adopted_tokens = calloc((size_t)s->table_max * FG_KV_BLOCK_TOKENS, sizeof(uint32_t));
    s->adopted_blocks = calloc(s->table_max, sizeof(uint32_t));
    s->sampler = fg_sampler_scratch_create(s->vocab_count);
    s->marks.vocab_count = s->vocab_count;
    s->marks.bits = calloc((s->vocab_count + 63) / 64, sizeof(*s->marks.bits));
    s->raw_logits = calloc(s->vocab_count, sizeof(*s->raw_logits));
    s->text_bytes = fg_tokenizer_push_bytes_max(s->tokenizer) + 8;
    s->text = malloc(s->text_bytes);
    s->out = malloc(s->text_bytes + FG_STOP_BYTES_MAX + 8);
    return s->sequences != NULL && s->batch_free != NULL && s->tables != NULL &&
           s->logits != NULL && s->runs != NULL && s->owner != NULL && s->sampler != NULL &&
           s->parts != NULL && s->works != NULL && s->adopted_tokens != NULL &&
           s->adopted_blocks != NULL && s->marks.bits != NULL && s->raw_logits != NULL &&
           s->text != NULL && s->out != NULL;
}

static void apply_conf(struct fg_scheduler *s, const struct fg_scheduler_options *options)
{
    const struct fg_inference_conf *conf = options->conf;
    s->step_tokens_max = conf->step_tokens_max > 0 ? conf->step_tokens_max : 1;
    s->prefill_chunk = conf->prefill_chunk > 0 ? conf->prefill_chunk : s->step_tokens_max;
    /* Every running sequence gets its token in every step. */
    s->batch_max = conf->batch_max > 0 ? conf->batch_max : 1;
    if (s->batch_max > s->step_tokens_max)
        s->batch_max = s->step_tokens_max;
    s->waiting_max = conf->waiting_max;
    s->thread_count = conf->threads_per_worker > 0 ? conf->threads_per_worker : 1;
    s->sequence_count = s->batch_max + s->waiting_max;
    s->wait_max_ns = conf->wait_max_ns;
    s->orphan_ns = conf->orphan_keep_ns;
    s->prefill_long = conf->prefill_long > 0 ? conf->prefill_long : UINT32_MAX;
    s->step_ns = conf->step_time_max_ns > 0 ? conf->step_time_max_ns : UINT64_MAX;
    s->shares_prefixes = conf->prefix_sharing != FG_PREFIX_OFF;
    s->reserves_all = conf->admission == FG_KV_ADMIT_RESERVE;
    s->hands_over_after_prefill = options->hands_over_after_prefill;
    s->context_max = options->context_max;
    s->vocab_count = options->vocab_count;
    s->width = options->width;
}

enum fg_status fg_scheduler_create(struct fg_scheduler **out,
                                   const struct fg_scheduler_options *options,
                                   struct fg_error *error)
{
    *out = NULL;
    assert(options->context_max > 0 && options->vocab_count > 0);
    struct fg_scheduler *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return fg_error_set(error, "scheduler: out of memory");
    s->events = options->events;
    s->arena = options->arena;
    s->record = fg_kv_arena_worker(options->arena, options->worker_index);
    assert(s->record != NULL);
    s->executor = options->executor;
    fg_executor_set_beats(s->executor, &s->record->beats);
    s->tokenizer = options->tokenizer;
    s->clock_ns = options->clock_ns != NULL ? options->clock_ns : fg_clock_monotonic_ns;
    s->worker_index = options->worker_index;
    s->table_max = fg_kv_arena_table_max(options->arena);
    apply_conf(s, options);
    fg_list_init(&s->free);
    fg_list_init(&s->preparing);
    fg_list_init(&s->waiting);
    fg_list_init(&s->running);
    if (!allocate(s)) {
        fg_scheduler_destroy(s);
        return fg_error_set(error, "scheduler: out of memory for batch_max %u and waiting_max %u",
                            options->conf->batch_max, options->conf->waiting_max);
    }
    for (uint32_t i = 0; i < s->sequence_count; i++) {
        s->sequences[i].slot = i;
        fg_list_push_back(&s->free, &s->sequences[i].link);
    }
    s->state_counts[FG_SEQUENCE_FREE] = s->sequence_count;
    for (uint32_t i = 0; i < s->batch_max; i++)
        s->batch_free[s->batch_free_count++] = s->batch_max - 1 - i;
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(s->arena, &gauges);
    s->block_rate = (struct fg_rate){s->clock_ns(), gauges.blocks_released, 0};
    s->finish_rate = (struct fg_rate){s->clock_ns(), 0, 0};
    *out = s;
    return FG_OK;
}

void fg_scheduler_destroy(struct fg_scheduler *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; s->sequences != NULL && i < s->sequence_count; i++) {
        if (s->sequences[i].state != FG_SEQUENCE_FREE)
            fg_sequence_release(s, &s->sequences[i]);
    }
    free(s->sequences);
    free(s->batch_free);
    free(s->tables);
    free(s->logits);
    free(s->runs);
    free(s->owner);
    free(s->parts);
    free(s->works);
    free(s->adopted_tokens);
    free(s->adopted_blocks);
    fg_sampler_scratch_destroy(s->sampler);
    free(s->marks.bits);
    free(s->raw_logits);
    free(s->text);
    free(s->out);
    free(s);
}
