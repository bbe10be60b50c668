/*
 * channel.c: frames between the gateway and an inference worker, byte by byte.
 * Job      one bounded reader and one bounded writer; every message is a list of fields over them.
 * Thread   any; works on the caller's bytes.
 * Never    trusts a length: a reader that ran out of bytes stays failed, and what it returned since
 *          is zero, so that the check is made once, at the end.
 *
 *    string    u32 bytes | bytes
 *    HELLO     u32 version | u32 pid | u32 vocabulary | u32 context | u8 has template | u8 role
 *    SUBMIT    u8 kind | u32 priority | u8 ignore end | u8 thinking | u32 max tokens | u64 deadline
 *              | f32 temperature | f32 top p | u32 top k | u64 seed | u64 user hash | u32 messages
 *              | u32 stops | u32 resumed | u64 cache salt | u64 stream key | u8 may adopt
 *              | f32 min p | f32 repetition, frequency, presence penalty | u32 logprobs
 *              | u8 constraint | u32 biases | u8 task | u8 choices
 *              | (string role | string content) x messages | string x stops | string schema
 *              | string tools | (u32 token | f32 bias) x biases | u32 x resumed
 *    CANCEL    nothing
 *    TOKEN     u32 index | u32 token | string text | u8 logprobs | (f32 | string) x logprobs
 *    DONE      u32 finish | u32 prompt | u32 completion | u32 cached | u64 queue | u64 prefill
 *              | u64 decode | string text
 *    REFUSED   u32 reason | u32 retry after | u64 value | u64 limit | string message
 */
#include "inference/worker/channel.h"

#include "policies/priority.h"

#include <assert.h>
#include <math.h>

#define SUBMIT_FIXED_BYTES ((size_t)103)

struct reader {
    const unsigned char *at;
    size_t left;
    bool is_good;
};

struct writer {
    unsigned char *start;
    size_t used;
    size_t room;
    bool is_good;
};

static struct reader reader_over(struct fg_span payload)
{
    return (struct reader){(const unsigned char *)payload.data, payload.len, true};
}

/* The next `bytes`, or NULL; zero bytes are always there. */
static const unsigned char *take(struct reader *r, size_t bytes)
{
    if (!r->is_good || bytes > r->left) {
        r->is_good = false;
        return NULL;
    }
    const unsigned char *at = r->at;
    if (bytes > 0) {
        r->at += bytes;
        r->left -= bytes;
    }
    return at;
}

static uint64_t take_number(struct reader *r, size_t bytes)
{
    const unsigned char *at = take(r, bytes);
    uint64_t value = 0;
    if (at != NULL) {
        for (size_t i = bytes; i > 0; i--)
            value = value << 8 | at[i - 1];
    }
    return value;
}

static uint32_t take_u32(struct reader *r)
{
    return (uint32_t)take_number(r, 4);
}

static uint64_t take_u64(struct reader *r)
{
    return take_number(r, 8);
}

/* A number from 0 to `most`; anything larger fails the reader. */
static uint32_t take_u32_max(struct reader *r, uint32_t most)
{
    uint32_t value = take_u32(r);
    if (value > most) {
        r->is_good = false;
        return 0;
    }
    return value;
}

static uint32_t take_u8_max(struct reader *r, uint32_t most)
{
    uint32_t value = (uint32_t)take_number(r, 1);
    if (value > most) {
        r->is_good = false;
        return 0;
    }
    return value;
}

static float take_f32(struct reader *r)
{
    uint32_t bits = take_u32(r);
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static struct fg_span take_string(struct reader *r)
{
    size_t bytes = take_u32(r);
    const unsigned char *at = take(r, bytes);
    if (at == NULL)
        return (struct fg_span){NULL, 0};
    return fg_span_make((const char *)at, bytes);
}

/* Everything was there, and nothing is left. */
static enum fg_status reader_end(const struct reader *r)
{
    return r->is_good && r->left == 0 ? FG_OK : FG_ERR_INVALID;
}

static void put(struct writer *w, const void *bytes, size_t count)
{
    if (!w->is_good || count > w->room - w->used) {
        w->is_good = false;
        return;
    }
    if (count > 0)
        memcpy(w->start + w->used, bytes, count);
    w->used += count;
}

static void put_number(struct writer *w, uint64_t value, size_t count)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < count; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    put(w, bytes, count);
}

static void put_u8(struct writer *w, uint32_t value)
{
    assert(value <= UINT8_MAX);
    put_number(w, value, 1);
}

static void put_u32(struct writer *w, uint32_t value)
{
    put_number(w, value, 4);
}

static void put_u64(struct writer *w, uint64_t value)
{
    put_number(w, value, 8);
}

static void put_f32(struct writer *w, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_u32(w, bits);
}

static void put_string(struct writer *w, struct fg_span text)
{
    if (text.len > FG_CHANNEL_PAYLOAD_MAX) {
        w->is_good = false;
        return;
    }
    put_u32(w, (uint32_t)text.len);
    put(w, text.data, text.len);
}

/* Leaves place for the payload's size, which writer_end fills in. */
static struct writer writer_begin(unsigned char *out, size_t room, enum fg_channel_type type,
                                  uint64_t request_id)
{
    struct writer w = {out, 0, room, true};
    put_u32(&w, 0);
    put_number(&w, (uint64_t)type, 2);
    put_number(&w, 0, 2);
    put_u64(&w, request_id);
    return w;
}

static size_t writer_end(struct writer *w)
{
    if (!w->is_good)
        return 0;
    size_t payload_bytes = w->used - FG_CHANNEL_HEADER_BYTES;
    if (payload_bytes > FG_CHANNEL_PAYLOAD_MAX)
        return 0;
    for (size_t i = 0; i < 4; i++)
        w->start[i] = (unsigned char)(payload_bytes >> (8 * i));
    return w->used;
}

enum fg_status fg_channel_read_header(const unsigned char bytes[FG_CHANNEL_HEADER_BYTES],
                                      struct fg_channel_header *header)
{
    struct reader r = {bytes, FG_CHANNEL_HEADER_BYTES, true};
    *header = (struct fg_channel_header){0};
    uint32_t payload_bytes = take_u32_max(&r, (uint32_t)FG_CHANNEL_PAYLOAD_MAX);
    uint32_t type = (uint32_t)take_number(&r, 2);
    uint32_t padding = (uint32_t)take_number(&r, 2);
    uint64_t request_id = take_u64(&r);
    if (!r.is_good || padding != 0 || type < FG_CHANNEL_HELLO || type >= FG_CHANNEL_TYPE_END)
        return FG_ERR_INVALID;
    if (type == FG_CHANNEL_CANCEL && payload_bytes != 0)
        return FG_ERR_INVALID;
    header->payload_bytes = payload_bytes;
    header->type = (enum fg_channel_type)type;
    header->request_id = request_id;
    return FG_OK;
}

enum fg_status fg_channel_read_hello(struct fg_span payload, struct fg_channel_hello *out)
{
    struct reader r = reader_over(payload);
    *out = (struct fg_channel_hello){0};
    out->version = take_u32(&r);
    out->pid = take_u32(&r);
    out->vocab_count = take_u32(&r);
    out->context_max = take_u32(&r);
    out->has_chat_template = take_u8_max(&r, 1) != 0;
    out->role = (enum fg_worker_role)take_u8_max(&r, FG_ROLE_DECODE);
    return reader_end(&r);
}

static bool sampling_is_valid(const struct fg_sampling *sampling)
{
    return isfinite(sampling->temperature) && sampling->temperature >= 0 &&
           isfinite(sampling->top_p) && sampling->top_p > 0 && sampling->top_p <= 1 &&
           sampling->min_p >= 0 && sampling->min_p <= 1 && sampling->repetition_penalty >= 0 &&
           isfinite(sampling->repetition_penalty) && isfinite(sampling->frequency_penalty) &&
           isfinite(sampling->presence_penalty) &&
           sampling->logprob_count <= FG_CHANNEL_LOGPROBS_MAX;
}

static void read_submit_fixed(struct reader *r, struct fg_channel_submit *out)
{
    out->kind = (enum fg_prompt_kind)take_u8_max(r, FG_PROMPT_TEXT);
    out->priority_number = take_u32_max(r, FG_PRIORITY_COMPOUND_COUNT - 1);
    out->ignore_end = take_u8_max(r, 1) != 0;
    out->thinking = take_u8_max(r, 1) != 0;
    out->max_tokens = take_u32(r);
    out->deadline_ns = take_u64(r);
    out->sampling.temperature = take_f32(r);
    out->sampling.top_p = take_f32(r);
    out->sampling.top_k = take_u32(r);
    out->sampling.seed = take_u64(r);
    out->user_hash = take_u64(r);
    out->message_count = take_u32_max(r, FG_CHANNEL_MESSAGES_MAX);
    out->stop_count = take_u32_max(r, FG_CHANNEL_STOPS_MAX);
    out->resumed_count = take_u32(r);
    out->cache_salt = take_u64(r);
    out->stream_key = take_u64(r);
    out->may_adopt = take_u8_max(r, 1) != 0;
    out->sampling.min_p = take_f32(r);
    out->sampling.repetition_penalty = take_f32(r);
    out->sampling.frequency_penalty = take_f32(r);
    out->sampling.presence_penalty = take_f32(r);
    out->sampling.logprob_count = take_u32(r);
    out->constraint = (enum fg_constraint)take_u8_max(r, FG_CONSTRAINT_JSON);
    out->bias_count = take_u32_max(r, FG_CHANNEL_BIASES_MAX);
    out->task = (enum fg_task)take_u8_max(r, FG_TASK_COUNT - 1);
    out->choice_count = take_u8_max(r, FG_CHANNEL_CHOICES_MAX);
}

enum fg_status fg_channel_read_submit(struct fg_span payload, struct fg_channel_submit *out)
{
    struct reader r = reader_over(payload);
    /* The messages are not cleared: 32 KiB a request for entries that message_count excludes. */
    out->resumed = NULL;
    read_submit_fixed(&r, out);
    if (!r.is_good || out->max_tokens == 0 || out->message_count == 0 ||
        out->resumed_count > out->max_tokens || !sampling_is_valid(&out->sampling))
        return FG_ERR_INVALID;
    if (out->kind == FG_PROMPT_TEXT && out->message_count != 1)
        return FG_ERR_INVALID;
    bool is_alone = out->may_adopt || out->resumed_count > 0 || out->task != FG_TASK_GENERATE;
    if (out->choice_count == 0 || (out->choice_count > 1 && is_alone))
        return FG_ERR_INVALID;
    for (uint32_t i = 0; i < out->message_count; i++) {
        out->messages[i].role = take_string(&r);
        out->messages[i].content = take_string(&r);
    }
    if (out->kind == FG_PROMPT_TEXT && out->messages[0].role.len != 0)
        return FG_ERR_INVALID;
    for (uint32_t i = 0; i < out->stop_count; i++) {
        out->stops[i] = take_string(&r);
        if (out->stops[i].len == 0)
            return FG_ERR_INVALID; /* would match before the first byte */
    }
    out->schema = take_string(&r);
    out->tools = take_string(&r);
    out->bias = take(&r, out->bias_count * FG_CHANNEL_BIAS_BYTES);
    out->resumed = take(&r, (size_t)out->resumed_count * 4);
    return reader_end(&r);
}

enum fg_status fg_channel_read_token(struct fg_span payload, struct fg_channel_token *out)
{
    struct reader r = reader_over(payload);
    *out = (struct fg_channel_token){0};
    out->index = take_u32(&r);
    out->token = take_u32(&r);
    out->text = take_string(&r);
    out->logprob_count = take_u8_max(&r, FG_CHANNEL_LOGPROBS_MAX);
    for (uint32_t i = 0; i < out->logprob_count; i++) {
        out->logprobs[i].logprob = take_f32(&r);
        out->logprobs[i].bytes = take_string(&r);
        if (isnan(out->logprobs[i].logprob))
            return FG_ERR_INVALID;
    }
    return reader_end(&r);
}

enum fg_status fg_channel_read_done(struct fg_span payload, struct fg_channel_done *out)
{
    struct reader r = reader_over(payload);
    *out = (struct fg_channel_done){0};
    out->finish = (enum fg_finish)take_u32_max(&r, FG_FINISH_LENGTH);
    out->prompt_tokens = take_u32(&r);
    out->completion_tokens = take_u32(&r);
    out->cached_tokens = take_u32(&r);
    out->queue_ns = take_u64(&r);
    out->prefill_ns = take_u64(&r);
    out->decode_ns = take_u64(&r);
    out->text = take_string(&r);
    return reader_end(&r);
}

enum fg_status fg_channel_read_begun(struct fg_span payload, uint32_t *prompt_tokens)
{
    struct reader r = reader_over(payload);
    *prompt_tokens = take_u32(&r);
    return reader_end(&r);
}

enum fg_status fg_channel_read_refused(struct fg_span payload, struct fg_channel_refused *out)
{
    struct reader r = reader_over(payload);
    *out = (struct fg_channel_refused){0};
    out->reason = (enum fg_refusal)take_u32_max(&r, FG_REFUSAL_COUNT - 1);
    out->retry_after_ms = take_u32(&r);
    out->value = take_u64(&r);
    out->limit = take_u64(&r);
    out->message = take_string(&r);
    return reader_end(&r);
}

size_t fg_channel_submit_bytes(const struct fg_channel_submit *submit)
{
    assert(submit->message_count <= FG_CHANNEL_MESSAGES_MAX);
    assert(submit->stop_count <= FG_CHANNEL_STOPS_MAX);
    size_t bytes = FG_CHANNEL_HEADER_BYTES + SUBMIT_FIXED_BYTES;
    for (uint32_t i = 0; i < submit->message_count; i++)
        bytes += 8 + submit->messages[i].role.len + submit->messages[i].content.len;
    for (uint32_t i = 0; i < submit->stop_count; i++)
        bytes += 4 + submit->stops[i].len;
    bytes += 4 + submit->schema.len + 4 + submit->tools.len;
    bytes += submit->bias_count * FG_CHANNEL_BIAS_BYTES;
    return bytes + (size_t)submit->resumed_count * 4;
}

size_t fg_channel_write_submit(unsigned char *out, size_t room, uint64_t request_id,
                               const struct fg_channel_submit *submit)
{
    assert(submit->message_count <= FG_CHANNEL_MESSAGES_MAX);
    assert(submit->stop_count <= FG_CHANNEL_STOPS_MAX);
    struct writer w = writer_begin(out, room, FG_CHANNEL_SUBMIT, request_id);
    put_u8(&w, (uint32_t)submit->kind);
    put_u32(&w, submit->priority_number);
    put_u8(&w, submit->ignore_end);
    put_u8(&w, submit->thinking);
    put_u32(&w, submit->max_tokens);
    put_u64(&w, submit->deadline_ns);
    put_f32(&w, submit->sampling.temperature);
    put_f32(&w, submit->sampling.top_p);
    put_u32(&w, submit->sampling.top_k);
    put_u64(&w, submit->sampling.seed);
    put_u64(&w, submit->user_hash);
    put_u32(&w, submit->message_count);
    put_u32(&w, submit->stop_count);
    put_u32(&w, submit->resumed_count);
    put_u64(&w, submit->cache_salt);
    put_u64(&w, submit->stream_key);
    put_u8(&w, submit->may_adopt);
    put_f32(&w, submit->sampling.min_p);
    put_f32(&w, submit->sampling.repetition_penalty);
    put_f32(&w, submit->sampling.frequency_penalty);
    put_f32(&w, submit->sampling.presence_penalty);
    put_u32(&w, submit->sampling.logprob_count);
    put_u8(&w, (uint32_t)submit->constraint);
    put_u32(&w, submit->bias_count);
    put_u8(&w, (uint32_t)submit->task);
    put_u8(&w, submit->choice_count);
    assert(!w.is_good || w.used == FG_CHANNEL_HEADER_BYTES + SUBMIT_FIXED_BYTES);
    for (uint32_t i = 0; i < submit->message_count; i++) {
        put_string(&w, submit->messages[i].role);
        put_string(&w, submit->messages[i].content);
    }
    for (uint32_t i = 0; i < submit->stop_count; i++)
        put_string(&w, submit->stops[i]);
    put_string(&w, submit->schema);
    put_string(&w, submit->tools);
    put(&w, submit->bias, submit->bias_count * FG_CHANNEL_BIAS_BYTES);
    put(&w, submit->resumed, (size_t)submit->resumed_count * 4);
    return writer_end(&w);
}

size_t fg_channel_write_cancel(unsigned char *out, size_t room, uint64_t request_id)
{
    struct writer w = writer_begin(out, room, FG_CHANNEL_CANCEL, request_id);
    return writer_end(&w);
}

size_t fg_channel_write_hello(unsigned char *out, size_t room, const struct fg_channel_hello *hello)
{
    struct writer w = writer_begin(out, room, FG_CHANNEL_HELLO, 0);
    put_u32(&w, hello->version);
    put_u32(&w, hello->pid);
    put_u32(&w, hello->vocab_count);
    put_u32(&w, hello->context_max);
    put_u8(&w, hello->has_chat_template);
    put_u8(&w, (uint32_t)hello->role);
    return writer_end(&w);
}

size_t fg_channel_token_bytes(const struct fg_channel_token *token)
{
    size_t bytes = FG_CHANNEL_HEADER_BYTES + 13 + token->text.len;
    for (uint32_t i = 0; i < token->logprob_count; i++)
        bytes += 8 + token->logprobs[i].bytes.len;
    return bytes;
}

size_t fg_channel_write_token(unsigned char *out, size_t room, uint64_t request_id,
                              const struct fg_channel_token *token)
{
    struct writer w = writer_begin(out, room, FG_CHANNEL_TOKEN, request_id);
    put_u32(&w, token->index);
    put_u32(&w, token->token);
    put_string(&w, token->text);
    put_u8(&w, token->logprob_count);
    for (uint32_t i = 0; i < token->logprob_count; i++) {
        put_f32(&w, token->logprobs[i].logprob);
        put_string(&w, token->logprobs[i].bytes);
    }
    return writer_end(&w);
}

size_t fg_channel_write_done(unsigned char *out, size_t room, uint64_t request_id,
                             const struct fg_channel_done *done)
{
    struct writer w = writer_begin(out, room, FG_CHANNEL_DONE, request_id);
    put_u32(&w, (uint32_t)done->finish);
    put_u32(&w, done->prompt_tokens);
    put_u32(&w, done->completion_tokens);
    put_u32(&w, done->cached_tokens);
    put_u64(&w, done->queue_ns);
    put_u64(&w, done->prefill_ns);
    put_u64(&w, done->decode_ns);
    put_string(&w, done->text);
    return writer_end(&w);
}

size_t fg_channel_write_begun(unsigned char *out, size_t room, uint64_t request_id,
                              uint32_t prompt_tokens)
{
    struct writer w = writer_begin(out, room, FG_CHANNEL_BEGUN, request_id);
    put_u32(&w, prompt_tokens);
    return writer_end(&w);
}

size_t fg_channel_write_refused(unsigned char *out, size_t room, uint64_t request_id,
                                const struct fg_channel_refused *refused)
{
    struct writer w = writer_begin(out, room, FG_CHANNEL_REFUSED, request_id);
    put_u32(&w, (uint32_t)refused->reason);
    put_u32(&w, refused->retry_after_ms);
    put_u64(&w, refused->value);
    put_u64(&w, refused->limit);
    put_string(&w, refused->message);
    return writer_end(&w);
}
