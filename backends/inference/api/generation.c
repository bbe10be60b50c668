/*
 * generation.c: one completion request, from its first byte to the end of its answer.
 * Job      has the body parsed and placed, turns tokens into the answer, and ends the
 *          exchange exactly once. The head waits for the first token, so that a refusal until then
 *          still is a proper 429 or 503.
 * Thread   the exchange's event loop.
 * Never    sends a token twice or leaves one out: tokens are numbered, and a request that went to
 *          another worker carries those it has.
 * Memory   the exchange's arena; text that the client does not take is bounded by max_tokens.
 *
 *    reading --> parsing --> open --> flushing --> ended   (every state may end at once: refused,
 *       `---------------------^                             failed, cancelled)
 *    while open, each choice: idle --> waiting <--> running --> idle; all of them at the same time
 */
#include "inference_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "json_escape.h"

#include <assert.h>
#include <stdio.h>
#include <sys/random.h>

/* Text of one token: the longest of common vocabularies have 128 bytes, broken bytes become three.
 */
#define TOKEN_TEXT_BYTES_MAX ((size_t)256)
/* Of a document, for a token and each of its alternatives; see allow_logprobs. */
#define LOGPROB_BYTES UINT64_C(640)
#define HELD_TEXT_BYTES_MAX ((size_t)8192) /* what a worker may hold back for stop texts */

#define HEAD_FIELDS_MAX 5

/* Texts of a request for embeddings that workers have at the same time. */
#define EMBEDDINGS_AT_ONCE 16u

#define RETRY_PAUSE_MS_MIN UINT32_C(20) /* whatever a worker says, no ping-pong */

#define MOVE(state) (1u << (state))

static const uint8_t legal_moves[FG_GENERATION_STATE_COUNT] = {
    [FG_GENERATION_READING] =
        MOVE(FG_GENERATION_PARSING) | MOVE(FG_GENERATION_OPEN) | MOVE(FG_GENERATION_ENDED),
    [FG_GENERATION_PARSING] = MOVE(FG_GENERATION_OPEN) | MOVE(FG_GENERATION_ENDED),
    [FG_GENERATION_OPEN] = MOVE(FG_GENERATION_FLUSHING) | MOVE(FG_GENERATION_ENDED),
    [FG_GENERATION_FLUSHING] = MOVE(FG_GENERATION_ENDED),
    [FG_GENERATION_ENDED] = 0,
};

void fg_generation_set_state(struct fg_generation *gen, enum fg_generation_state next)
{
    assert((legal_moves[gen->state] & MOVE(next)) != 0);
    gen->state = next;
}

uint64_t fg_generation_next_id(struct fg_inference_thread *thread)
{
    thread->ids_used++;
    return (uint64_t)(thread->env->thread_index + 1) << 48 | thread->ids_used;
}

/* No worker has it any more, or is to speak of it. */
static void retire(struct fg_choice *choice)
{
    fg_placement_remove(choice);
    if (choice->id != 0)
        fg_request_table_remove(choice->gen->thread->table, choice->id);
    choice->id = 0;
}

/* Give everything back; the exchange is still open, its `ex` is returned to be ended. */
static struct fg_exchange *detach(struct fg_generation *gen)
{
    struct fg_exchange *ex = gen->ex;
    for (uint32_t i = 0; i < gen->choice_count; i++)
        retire(fg_generation_choice(gen, i));
    fg_completion_request_fini(&gen->request);
    fg_generation_set_state(gen, FG_GENERATION_ENDED);
    ex->backend_state = NULL;
    return ex;
}

/* As detach, of a request that its worker may still be busy with. */
static struct fg_exchange *abandon(struct fg_generation *gen)
{
    for (uint32_t i = 0; i < gen->choice_count; i++) {
        const struct fg_choice *choice = fg_generation_choice(gen, i);
        if (choice->link != NULL)
            fg_channel_link_cancel(choice->link, choice->id);
    }
    return detach(gen);
}

void fg_generation_fail(struct fg_generation *gen, enum fg_failure failure, const char *detail)
{
    fg_counter_add_owned(&gen->thread->metrics->failed, 1);
    fg_exchange_fail(abandon(gen), failure, detail);
}

void fg_generation_refuse(struct fg_generation *gen, const struct fg_generation_refusal *refusal,
                          const char *message)
{
    if (gen->is_head_sent) {
        fg_generation_fail(gen,
                           refusal->says.status == 504   ? FG_FAILURE_TIMEOUT
                           : refusal->says.status == 500 ? FG_FAILURE_RESET
                                                         : FG_FAILURE_BUSY,
                           "refused after its answer had begun");
        return;
    }
    fg_counter_add_owned(&gen->thread->metrics->refused[refusal->reason], 1);
    struct fg_backend_refusal says = refusal->says;
    says.message = message;
    fg_exchange_refuse(abandon(gen), &says);
}

void fg_generation_cancel(struct fg_generation *gen)
{
    fg_counter_add_owned(&gen->thread->metrics->cancelled, 1);
    (void)abandon(gen);
}

/* Left out when there is no memory for it. */
static void add_number(struct fg_field *fields, size_t *count, struct fg_arena *arena,
                       struct fg_span name, size_t number)
{
    struct fg_span value = fg_arena_try_u64(arena, number);
    if (value.data != NULL)
        fields[(*count)++] = (struct fg_field){name, value};
}

static void send_head(struct fg_generation *gen)
{
    static const struct fg_field stream_fields[] = {
        {FG_SPAN_LITERAL("content-type"), FG_SPAN_LITERAL("text/event-stream")},
        {FG_SPAN_LITERAL("cache-control"), FG_SPAN_LITERAL("no-cache")},
        {FG_SPAN_LITERAL("x-accel-buffering"), FG_SPAN_LITERAL("no")},
    };
    static const struct fg_field document_fields[] = {
        {FG_SPAN_LITERAL("content-type"), FG_SPAN_LITERAL("application/json")},
        {FG_SPAN_LITERAL("cache-control"), FG_SPAN_LITERAL("no-store")},
    };
    struct fg_arena *arena = gen->ex->arena;
    struct fg_field fields[HEAD_FIELDS_MAX];
    size_t count = gen->request.is_stream ? 3 : 2;
    gen->is_head_sent = true;
    memcpy(fields, gen->request.is_stream ? stream_fields : document_fields,
           count * sizeof(fields[0]));
    /* Without memory for the length the gateway frames by itself. */
    if (!gen->request.is_stream)
        add_number(fields, &count, arena, FG_SPAN("content-length"),
                   fg_completion_answer_document_bytes(&gen->answer));
    if (gen->is_capped)
        add_number(fields, &count, arena, FG_SPAN("x-floodgate-max-tokens"),
                   gen->request.max_tokens);
    fg_exchange_head(gen->ex, 200, fields, count);
}

/* Hand the client what it takes; ends the exchange after the last byte. */
static void flush(struct fg_generation *gen)
{
    struct fg_inference_thread *thread = gen->thread;
    if (!gen->request.is_stream && !gen->answer.is_finished)
        return;
    if (!gen->is_head_sent)
        send_head(gen);
    while (!gen->is_blocked) {
        size_t bytes = fg_completion_answer_fill(&gen->answer, thread->chunk, thread->chunk_bytes);
        if (bytes == 0)
            break;
        gen->is_blocked = !fg_exchange_write(gen->ex, thread->chunk, bytes);
    }
    if (fg_completion_answer_is_complete(&gen->answer)) {
        fg_counter_add_owned(&thread->metrics->completed, 1);
        fg_exchange_end(detach(gen));
    }
}

void fg_generation_on_writable(struct fg_generation *gen)
{
    gen->is_blocked = false;
    if (gen->is_head_sent)
        flush(gen);
}

/* Whether the answer could take what came; false when that ended the request. */
static bool has_taken(struct fg_generation *gen, enum fg_status status)
{
    if (status == FG_OK)
        return true;
    fg_generation_fail(gen, FG_FAILURE_NO_MEMORY,
                       status == FG_ERR_LIMIT
                           ? "the client took too little of the text for too long"
                           : "no memory for the text");
    return false;
}

static void record_token(struct fg_choice *choice, uint64_t now_ns)
{
    struct fg_generation *gen = choice->gen;
    struct fg_inference_metrics *metrics = gen->thread->metrics;
    fg_inference_metrics_token(metrics, now_ns);
    if (choice->token_count == 0) {
        fg_histogram_record(&metrics->ttft, now_ns - gen->admitted_ns);
        if (!gen->is_head_sent && choice->index == 0)
            fg_exchange_hop_time(gen->ex, "ttft", now_ns - gen->admitted_ns);
    } else {
        fg_histogram_record(&metrics->tpot, now_ns - choice->last_token_ns);
    }
    choice->last_token_ns = now_ns;
}

/* The prompt is paid for once, whoever reads it again after a worker's death. */
static bool on_begun(struct fg_choice *choice, struct fg_span payload)
{
    struct fg_generation *gen = choice->gen;
    struct fg_choice *payer = gen->answer.is_embedding ? choice : &gen->first;
    uint32_t prompt_tokens;
    if (fg_channel_read_begun(payload, &prompt_tokens) != FG_OK)
        return false;
    if (!payer->has_begun)
        gen->ex->tokens_used += prompt_tokens;
    payer->has_begun = true;
    return true;
}

static bool on_token(struct fg_choice *choice, struct fg_span payload)
{
    struct fg_generation *gen = choice->gen;
    struct fg_channel_token token;
    if (fg_channel_read_token(payload, &token) != FG_OK)
        return false;
    if (token.index != choice->token_count || choice->token_count == gen->request.max_tokens)
        return false;
    record_token(choice, fg_clock_monotonic_ns());
    for (unsigned i = 0; i < 4; i++)
        choice->tokens[(size_t)choice->token_count * 4 + i] =
            (unsigned char)(token.token >> (8 * i));
    choice->token_count++;
    gen->ex->tokens_used++;
    if (has_taken(gen, fg_completion_answer_add(&gen->answer, choice->index, &token)))
        flush(gen);
    return true;
}

/* The next text of a request for embeddings. */
static void begin_next_text(struct fg_choice *choice)
{
    struct fg_generation *gen = choice->gen;
    choice->text_index = gen->next_text++;
    choice->submissions = 0;
    choice->has_begun = false;
    gen->admitted_ns = fg_clock_monotonic_ns();
    choice->wait_until_ns = fg_placement_wait_until(gen->thread, gen->admitted_ns);
    fg_placement_place(choice);
}

static bool on_done(struct fg_choice *choice, struct fg_span payload)
{
    struct fg_generation *gen = choice->gen;
    struct fg_channel_done done;
    if (fg_channel_read_done(payload, &done) != FG_OK)
        return false;
    fg_placement_remove(choice);
    bool is_embedding = gen->answer.is_embedding;
    if (choice->index == 0 || is_embedding)
        fg_counter_add_owned(&gen->thread->metrics->prompt_tokens, done.prompt_tokens);
    const struct fg_completion_end end = {
        .text = done.text,
        .finish_reason = done.finish == FG_FINISH_STOP ? "stop" : "length",
        .prompt_tokens = done.prompt_tokens,
        .completion_tokens = done.completion_tokens,
        .cached_tokens = done.cached_tokens,
    };
    uint32_t index = is_embedding ? choice->text_index : choice->index;
    if (!has_taken(gen, fg_completion_answer_finish(&gen->answer, index, &end)))
        return true;
    if (is_embedding && gen->next_text < gen->request.choice_count) {
        begin_next_text(choice);
        return true;
    }
    retire(choice);
    if (gen->answer.is_finished) {
        gen->ex->tokens_used = (uint64_t)gen->answer.prompt_tokens + gen->answer.completion_tokens;
        fg_generation_set_state(gen, FG_GENERATION_FLUSHING);
        if (!gen->is_head_sent) {
            fg_exchange_hop_time(gen->ex, "worker_queue", done.queue_ns);
            fg_exchange_hop_time(gen->ex, "prefill", done.prefill_ns);
            fg_exchange_hop_time(gen->ex, "decode", done.decode_ns);
        }
    }
    flush(gen);
    return true;
}

/* How a worker's refusal reads for a client (channel.h gives the statuses). */
static struct fg_generation_refusal refusal_of(const struct fg_exchange *ex,
                                               const struct fg_channel_refused *refused)
{
    static const struct {
        unsigned status;
        const char *type;
        const char *code;
        bool may_retry;
        const char *policy;
    } answers[] = {
        [FG_REFUSAL_QUEUE_FULL] = {429, "rate_limit_error", "queue_full", true, "inference_queue"},
        [FG_REFUSAL_NO_BLOCKS] = {503, "overloaded_error", "no_kv_blocks", true, "kv_blocks"},
        [FG_REFUSAL_TOO_LONG] = {400, "invalid_request_error", "context_length_exceeded", false,
                                 NULL},
        [FG_REFUSAL_BAD_PROMPT] = {400, "invalid_request_error", "bad_prompt", false, NULL},
        [FG_REFUSAL_DEADLINE] = {504, "timeout_error", "deadline_exceeded", true, "deadline"},
        [FG_REFUSAL_DRAINING] = {503, "overloaded_error", "draining", true, "workers"},
        [FG_REFUSAL_INTERNAL] = {500, "server_error", "inference_failed", false, NULL},
        [FG_REFUSAL_LATE] = {503, "overloaded_error", "cannot_meet_deadline", true, "ttft"},
        [FG_REFUSAL_MOVED] = {503, "overloaded_error", "draining", true, "workers"},
        [FG_REFUSAL_FATAL] = {500, "server_error", "inference_failed", false, NULL},
    };
    uint64_t retry_after_ms = 0;
    if (answers[refused->reason].may_retry)
        retry_after_ms = refused->retry_after_ms == 0 ? 1000 : refused->retry_after_ms;
    struct fg_generation_refusal refusal = {(unsigned)refused->reason,
                                            {.status = answers[refused->reason].status,
                                             .type = answers[refused->reason].type,
                                             .code = answers[refused->reason].code,
                                             .policy = answers[refused->reason].policy,
                                             .value = refused->value,
                                             .limit = refused->limit,
                                             .retry_after_ms = retry_after_ms}};
    if (refused->reason == FG_REFUSAL_DEADLINE) {
        refusal.says.value = (fg_clock_monotonic_ns() - ex->started_ns) / FG_MS;
        refusal.says.limit = (ex->deadline_ns - ex->started_ns) / FG_MS;
    }
    return refusal;
}

/*
 * Whether it was let in once, and so waits its turn rather than be refused: it had a worker before,
 * or the rest of its request has begun. A worker takes a request's first choice first.
 */
static bool was_let_in(const struct fg_choice *choice)
{
    return choice->submissions > 1 || choice->index > 0 || choice->gen->answer.finished_count > 0;
}

static void log_fatal(const struct fg_generation *gen)
{
    static struct fg_log_limit limit; /* a client can cause it */
    fg_log_limited(&limit, 4, FG_LOG_WARN, "request_kills_workers", "request_id=%.*s",
                   FG_SPAN_ARGS(gen->ex->request_id));
}

static bool on_refused(struct fg_choice *choice, struct fg_span payload)
{
    struct fg_generation *gen = choice->gen;
    struct fg_channel_refused refused;
    if (fg_channel_read_refused(payload, &refused) != FG_OK)
        return false;
    bool is_draining = refused.reason == FG_REFUSAL_DRAINING;
    bool is_moved = refused.reason == FG_REFUSAL_MOVED;
    bool is_short =
        refused.reason == FG_REFUSAL_QUEUE_FULL || refused.reason == FG_REFUSAL_NO_BLOCKS;
    struct fg_channel_link *link = choice->link;
    fg_placement_remove(choice);
    if (is_draining)
        link->is_draining = true;
    if (is_draining || is_moved || (is_short && was_let_in(choice))) {
        uint64_t now_ns = fg_clock_monotonic_ns();
        uint32_t pause_ms = refused.retry_after_ms < RETRY_PAUSE_MS_MIN ? RETRY_PAUSE_MS_MIN
                                                                        : refused.retry_after_ms;
        choice->not_before_ns = is_short ? now_ns + pause_ms * FG_MS : 0;
        choice->wait_until_ns = fg_placement_wait_until(gen->thread, now_ns);
        fg_counter_add_owned(
            is_moved ? &gen->thread->metrics->moved : &gen->thread->metrics->resubmitted, 1);
        fg_placement_place(choice);
        return true;
    }
    if (refused.reason == FG_REFUSAL_FATAL)
        log_fatal(gen);
    char message[320];
    snprintf(message, sizeof(message), "%.*s", FG_SPAN_ARGS(refused.message));
    fg_json_clean(message);
    struct fg_generation_refusal refusal = refusal_of(gen->ex, &refused);
    fg_generation_refuse(gen, &refusal, message);
    return true;
}

bool fg_generation_on_frame(struct fg_choice *choice, const struct fg_channel_header *header,
                            struct fg_span payload)
{
    assert(choice->state == FG_CHOICE_RUNNING);
    if (header->type == FG_CHANNEL_TOKEN)
        return on_token(choice, payload);
    if (header->type == FG_CHANNEL_DONE)
        return on_done(choice, payload);
    if (header->type == FG_CHANNEL_BEGUN)
        return on_begun(choice, payload);
    return on_refused(choice, payload);
}

/* The parts of the answer and the place for its tokens; false when there is no memory. */
static bool make_answer(struct fg_generation *gen)
{
    const struct fg_inference *backend = gen->thread->backend;
    const struct fg_completion_request *request = &gen->request;
    static const char *const names[] = {[FG_COMPLETION_TEXT] = "cmpl",
                                        [FG_COMPLETION_CHAT] = "chatcmpl",
                                        [FG_COMPLETION_EMBEDDING] = "embd"};
    char id[40];
    uint64_t tag = fg_span_hash(fg_span_make((const char *)&gen->first.id, sizeof(gen->first.id)),
                                backend->hash_seed);
    snprintf(id, sizeof(id), "%s-%016llx", names[gen->kind], (unsigned long long)tag);
    gen->answer = (struct fg_completion_answer){
        .is_chat = gen->kind == FG_COMPLETION_CHAT,
        .is_stream = request->is_stream,
        .include_usage = request->include_usage,
        .has_logprobs = request->sampling.logprob_count > 0,
        .takes_calls = request->tools.len > 0,
        .choice_max = request->choice_count,
        .is_embedding = request->task != FG_TASK_GENERATE,
        .is_base64 = request->is_base64,
        .forces_call = request->forces_call,
        .arena = gen->ex->arena,
        .text_bytes_max = request->max_tokens * TOKEN_TEXT_BYTES_MAX + HELD_TEXT_BYTES_MAX,
    };
    return fg_completion_answer_init(&gen->answer, id, fg_clock_wall_ns() / FG_S,
                                     backend->model_name) == FG_OK;
}

/* How many sequences of it run at the same time. */
static uint32_t count_at_once(const struct fg_completion_request *request)
{
    if (request->task == FG_TASK_GENERATE || request->choice_count < EMBEDDINGS_AT_ONCE)
        return request->choice_count;
    return EMBEDDINGS_AT_ONCE;
}

/* The sequences that it will be, each with an id and a place for its tokens. */
static enum fg_status make_choices(struct fg_generation *gen)
{
    const struct fg_completion_request *request = &gen->request;
    struct fg_inference_thread *thread = gen->thread;
    bool is_embedding = request->task != FG_TASK_GENERATE;
    uint32_t count = count_at_once(request);
    gen->others = fg_arena_try_zalloc(gen->ex->arena, count * sizeof(*gen->others));
    if (gen->others == NULL)
        return FG_ERR_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        struct fg_choice *choice = fg_generation_choice(gen, i);
        choice->tokens = fg_arena_try_alloc(gen->ex->arena, (size_t)request->max_tokens * 4);
        if (choice->tokens == NULL)
            return FG_ERR_NO_MEMORY;
        if (i == 0)
            continue; /* has had its id from the start */
        choice->gen = gen;
        choice->index = i;
        fg_list_init(&choice->in_list);
        uint64_t id = fg_generation_next_id(thread);
        if (!fg_request_table_try_add(thread->table, id, choice)) {
            if (is_embedding)
                break; /* fewer at the same time do as well */
            return FG_ERR_LIMIT;
        }
        choice->id = id;
        gen->choice_count = i + 1;
        choice->text_index = is_embedding ? i : 0;
    }
    gen->next_text = gen->choice_count;
    return FG_OK;
}

/*
 * An answer in one piece with logprobs is many times its text: a token's entry some 160 bytes for
 * each alternative, in a buffer that doubles and in the document. Room for that beside the rest of
 * the request, which is used as it is needed; false where it could be more than the limit.
 */
static bool allow_logprobs(struct fg_generation *gen)
{
    const struct fg_completion_request *request = &gen->request;
    uint64_t entries =
        (uint64_t)request->choice_count * request->max_tokens * request->sampling.logprob_count;
    if (request->is_stream || entries == 0)
        return true;
    if (entries > gen->thread->backend->conf.logprobs_bytes_max / LOGPROB_BYTES)
        return false;
    gen->ex->arena->bytes_max += (size_t)entries * LOGPROB_BYTES;
    return true;
}

/* All places for requests of this event loop are taken. */
static struct fg_backend_refusal too_many_refusal(const struct fg_inference_thread *thread)
{
    return (struct fg_backend_refusal){
        .status = 429,
        .type = "rate_limit_error",
        .code = "queue_full",
        .message = "too many inference requests are open; try again later",
        .policy = "inference_requests",
        .value = fg_request_table_count(thread->table),
        .limit = fg_request_table_entries_max(thread->table),
        .retry_after_ms = 1000,
    };
}

/* Makes room for the answer; false when that ended the request. */
static bool prepare(struct fg_generation *gen)
{
    static const struct fg_generation_refusal too_large = {
        FG_INFERENCE_REFUSED_INVALID,
        {.status = 413, .type = "invalid_request_error", .code = "body_too_large"}};
    static const struct fg_generation_refusal too_long = {FG_INFERENCE_REFUSED_INVALID,
                                                          {.status = 400,
                                                           .type = "invalid_request_error",
                                                           .code = "invalid_value",
                                                           .param = "logprobs"}};
    enum fg_status status = make_choices(gen);
    if (status == FG_ERR_LIMIT) {
        const struct fg_generation_refusal too_many = {FG_INFERENCE_REFUSED_BUSY,
                                                       too_many_refusal(gen->thread)};
        fg_generation_refuse(gen, &too_many, too_many.says.message);
        return false;
    }
    if (status != FG_OK || !make_answer(gen)) {
        fg_generation_fail(gen, FG_FAILURE_NO_MEMORY, "no memory for the request");
        return false;
    }
    if (!fg_placement_fits(gen)) {
        fg_generation_refuse(gen, &too_large, "the request is too large for an inference worker");
        return false;
    }
    if (!allow_logprobs(gen)) {
        fg_generation_refuse(gen, &too_long,
                             "'logprobs' of so many tokens and alternatives are too large for an "
                             "answer in one piece; stream it, or ask for fewer");
        return false;
    }
    return true;
}

/* Under pressure an answer may not grow as long as asked; its client sees that by the head, and by
 * finish_reason. */
static void cap_tokens(struct fg_generation *gen)
{
    struct fg_pressure *pressure = gen->thread->env->pressure;
    if (!fg_pressure_asks(pressure, FG_OVERLOAD_CAP_TOKENS) ||
        gen->request.max_tokens <= pressure->tokens_max)
        return;
    gen->request.max_tokens = pressure->tokens_max;
    gen->is_capped = true;
    fg_pressure_acted(pressure, FG_OVERLOAD_CAP_TOKENS);
}

void fg_generation_admit(struct fg_generation *gen)
{
    struct fg_sampling *sampling = &gen->request.sampling;
    uint64_t random[2];
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        fg_generation_fail(gen, FG_FAILURE_INTERNAL, "no random seed");
        return;
    }
    gen->stream_key = random[0] | 1;
    if (!gen->request.has_seed)
        sampling->seed = random[1];
    cap_tokens(gen);
    if (!prepare(gen))
        return;
    gen->admitted_ns = fg_clock_monotonic_ns();
    fg_generation_set_state(gen, FG_GENERATION_OPEN);
    for (uint32_t i = 0; i < gen->choice_count; i++)
        fg_generation_choice(gen, i)->wait_until_ns =
            fg_placement_wait_until(gen->thread, gen->admitted_ns);
    /* None of them can end the request before it returns: a worker speaks from the loop alone. */
    uint32_t count = gen->answer.is_embedding ? gen->choice_count : 1;
    for (uint32_t i = 0; i < count; i++)
        fg_placement_place(fg_generation_choice(gen, i));
}

void fg_generation_on_body(struct fg_generation *gen, struct fg_span body)
{
    assert(gen->state == FG_GENERATION_READING);
    gen->body = body;
    fg_generation_parse(gen);
}

uint64_t fg_generation_body_max(const struct fg_inference *backend, const struct fg_exchange *ex)
{
    uint64_t most = FG_CHANNEL_PAYLOAD_MAX;
    if (backend->conf.body_bytes_max > 0 && backend->conf.body_bytes_max < most)
        most = backend->conf.body_bytes_max;
    /* What the request's memory cannot hold is too large, however often it comes again; a quarter
     * is the answer's. */
    const uint64_t room = (ex->arena->bytes_max - ex->arena->bytes_used) / 4 * 3;
    return room < most ? room : most;
}

void fg_generation_start(struct fg_inference_thread *thread, struct fg_exchange *ex,
                         enum fg_completion_kind kind)
{
    struct fg_inference_metrics *metrics = thread->metrics;
    fg_counter_add_owned(&metrics->started, 1);
    if (!ex->has_body) {
        fg_counter_add_owned(&metrics->refused[FG_INFERENCE_REFUSED_INVALID], 1);
        fg_exchange_refuse(ex, &(struct fg_backend_refusal){
                                   .status = 400,
                                   .type = "invalid_request_error",
                                   .code = "invalid_json",
                                   .message = "the body is empty; expected a JSON object",
                               });
        return;
    }
    struct fg_generation *gen = fg_arena_try_zalloc(ex->arena, sizeof(*gen));
    if (gen == NULL) {
        fg_counter_add_owned(&metrics->failed, 1);
        fg_exchange_fail(ex, FG_FAILURE_NO_MEMORY, "no memory for the request");
        return;
    }
    gen->first.gen = gen;
    gen->first.id = fg_generation_next_id(thread);
    gen->choice_count = 1;
    gen->ex = ex;
    gen->thread = thread;
    gen->kind = kind;
    fg_list_init(&gen->first.in_list);
    if (!fg_request_table_try_add(thread->table, gen->first.id, &gen->first)) {
        fg_counter_add_owned(&metrics->refused[FG_INFERENCE_REFUSED_BUSY], 1);
        const struct fg_backend_refusal too_many = too_many_refusal(thread);
        fg_exchange_refuse(ex, &too_many);
        return;
    }
    ex->backend_state = gen;
}
