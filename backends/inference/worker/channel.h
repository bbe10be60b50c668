/*
 * channel.h: what the gateway and an inference worker say to each other over a unix stream socket.
 * Job      frame, write and check messages; no I/O.
 * Thread   any; works on the caller's bytes.
 * Never    trusts the other side: lengths, counts and enum values are checked, unknown types
 * refused.
 *
 *    frame   u32 payload bytes | u16 type | u16 0 | u64 request id | payload       (little endian)
 *
 *    gateway --> worker   SUBMIT   a request with all it needs; with choice_count above 1 so many
 *                                  of one prompt: ids, seeds and stream keys of the others follow
 *                         CANCEL
 *    worker  --> gateway  HELLO    once, on connect
 *                         BEGUN    the prompt is being computed from now on, of so many tokens
 *                         TOKEN    numbered from 0 a request, with its text
 *                         DONE | REFUSED   the last word on a request
 *
 * A worker that dies loses nothing: a SUBMIT with may_adopt has the next worker look in the arena
 * for what the last one left under the stream's key. Where nothing is left it begins anew with the
 * tokens that the SUBMIT carries, and as sampling is a function of (seed, position) the text is the
 * same.
 */
#ifndef FG_INFERENCE_CHANNEL_H
#define FG_INFERENCE_CHANNEL_H

#include "base/span.h"
#include "base/status.h"
#include "inference/scheduler/sampler.h"

#define FG_CHANNEL_VERSION 7u
#define FG_CHANNEL_HEADER_BYTES ((size_t)16)
#define FG_CHANNEL_PAYLOAD_MAX ((size_t)16 << 20)
#define FG_CHANNEL_MESSAGES_MAX 1024u /* chat messages of one request */
#define FG_CHANNEL_STOPS_MAX 4u
#define FG_CHANNEL_BIASES_MAX 1024u
#define FG_CHANNEL_BIAS_BYTES ((size_t)8)
#define FG_CHANNEL_CHOICES_MAX 16u
#define FG_CHANNEL_CHOICE_KEYS 2u   /* between the stream keys of two choices, which stay odd */
#define FG_CHANNEL_LOGPROBS_MAX 21u /* a token's own and the 20 likeliest */

enum fg_channel_type {
    FG_CHANNEL_HELLO = 1,
    FG_CHANNEL_SUBMIT,
    FG_CHANNEL_CANCEL,
    FG_CHANNEL_TOKEN,
    FG_CHANNEL_DONE,
    FG_CHANNEL_REFUSED,
    FG_CHANNEL_BEGUN,
    FG_CHANNEL_TYPE_END,
};

struct fg_channel_header {
    uint32_t payload_bytes;
    enum fg_channel_type type;
    uint64_t request_id;
};

enum fg_worker_role {
    FG_ROLE_ANY,
    FG_ROLE_PREFILL, /* gives a stream away (MOVED) after its first token */
    FG_ROLE_DECODE,  /* takes what others began */
};

struct fg_channel_hello {
    uint32_t version;
    uint32_t pid;
    uint32_t vocab_count;
    uint32_t context_max;
    bool has_chat_template;
    enum fg_worker_role role;
};

enum fg_prompt_kind { FG_PROMPT_CHAT, FG_PROMPT_TEXT };

/* What is done with the prompt. */
enum fg_task {
    FG_TASK_GENERATE,
    FG_TASK_EMBED_MEAN, /* DONE's text is the mean of the final states, of length 1: f32s */
    FG_TASK_EMBED_LAST, /* ... the final state of the last token */
    FG_TASK_COUNT,
};

/* What the answer must be. */
enum fg_constraint {
    FG_CONSTRAINT_NONE,
    FG_CONSTRAINT_JSON, /* JSON that keeps to submit.schema; any object where that is empty */
};

struct fg_channel_submit {
    enum fg_prompt_kind kind;
    enum fg_task task;
    uint32_t priority_number; /* class and lot (policies/priority.h); smaller goes first */
    uint64_t deadline_ns;     /* CLOCK_MONOTONIC, which processes of a machine share */
    uint32_t max_tokens;      /* including resumed ones */
    uint32_t choice_count;    /* 1 to FG_CHANNEL_CHOICES_MAX; 1 for what is resumed or embedded */
    struct fg_sampling sampling;
    bool ignore_end;        /* do not stop at an end token (benchmarks) */
    bool thinking;          /* Qwen3's switch */
    uint64_t user_hash;     /* for fairness; 0: anonymous */
    uint64_t cache_salt;    /* requests with the same one share computed prompts */
    uint64_t stream_key;    /* random, the same for all submissions of a request; 0: none */
    bool may_adopt;         /* submitted before: its last worker may have left something */
    uint32_t message_count; /* CHAT: (role, content) pairs; TEXT: one pair with an empty role */
    struct fg_channel_message {
        struct fg_span role;
        struct fg_span content;
    } messages[FG_CHANNEL_MESSAGES_MAX];
    uint32_t stop_count;
    struct fg_span stops[FG_CHANNEL_STOPS_MAX];
    enum fg_constraint constraint;
    struct fg_span schema;     /* JSON Schema, for FG_CONSTRAINT_JSON */
    struct fg_span tools;      /* JSON definitions, one a line; CHAT only */
    uint32_t bias_count;       /* at most FG_CHANNEL_BIASES_MAX */
    const unsigned char *bias; /* (bias_count) of u32 token, f32 bias; little-endian, unaligned */
    uint32_t resumed_count;    /* tokens generated before the last worker died */
    const unsigned char *resumed; /* (resumed_count) little-endian u32, unaligned */
};

/* How likely a token was, and the bytes it stands for. */
struct fg_channel_logprob {
    float logprob;
    struct fg_span bytes;
};

struct fg_channel_token {
    uint32_t index; /* 0 for the first generated token, counting resumed ones */
    uint32_t token;
    struct fg_span text;    /* complete UTF-8; may be empty while bytes or a stop match are held */
    uint32_t logprob_count; /* 0: not asked for; else the token's own, then the likeliest */
    struct fg_channel_logprob logprobs[FG_CHANNEL_LOGPROBS_MAX];
};

enum fg_finish { FG_FINISH_STOP, FG_FINISH_LENGTH };

struct fg_channel_done {
    enum fg_finish finish;
    struct fg_span text; /* what was still held back, or an embedding as little-endian f32s */
    uint32_t prompt_tokens;
    uint32_t completion_tokens;
    uint64_t queue_ns;      /* submitted to first scheduled */
    uint64_t prefill_ns;    /* first scheduled to first token */
    uint64_t decode_ns;     /* first token to last */
    uint32_t cached_tokens; /* of the prompt: not computed for this request */
};

enum fg_refusal {
    FG_REFUSAL_QUEUE_FULL, /* 429 */
    FG_REFUSAL_NO_BLOCKS,  /* 503: waited wait_max for KV blocks in vain */
    FG_REFUSAL_TOO_LONG,   /* 400: prompt + max_tokens beyond the context or the whole arena */
    FG_REFUSAL_BAD_PROMPT, /* 400: unknown role, no template, empty prompt */
    FG_REFUSAL_DEADLINE,   /* 504 */
    FG_REFUSAL_DRAINING,   /* 503: the gateway submits elsewhere */
    FG_REFUSAL_INTERNAL,   /* 500 */
    FG_REFUSAL_LATE,       /* 503: its deadline could not be met */
    FG_REFUSAL_MOVED,      /* not for clients: another worker is to go on with it */
    FG_REFUSAL_FATAL,      /* 500: workers died computing it */
    FG_REFUSAL_COUNT,
};

struct fg_channel_refused {
    enum fg_refusal reason;
    uint32_t retry_after_ms;
    /* what was compared with what; both 0: nothing */
    uint64_t value;
    uint64_t limit;
    struct fg_span message; /* one sentence for the client */
};

/* Reads a header; FG_ERR_INVALID for an unknown type, non-zero padding or an oversized payload. */
enum fg_status fg_channel_read_header(const unsigned char bytes[FG_CHANNEL_HEADER_BYTES],
                                      struct fg_channel_header *header);

/* Payload readers. Spans point into `payload`. FG_ERR_INVALID when anything is out of bounds, a
 * number is not finite or in range, or bytes are left over. */
enum fg_status fg_channel_read_hello(struct fg_span payload, struct fg_channel_hello *out);
enum fg_status fg_channel_read_submit(struct fg_span payload, struct fg_channel_submit *out);
enum fg_status fg_channel_read_token(struct fg_span payload, struct fg_channel_token *out);
enum fg_status fg_channel_read_done(struct fg_span payload, struct fg_channel_done *out);
enum fg_status fg_channel_read_refused(struct fg_span payload, struct fg_channel_refused *out);
enum fg_status fg_channel_read_begun(struct fg_span payload, uint32_t *prompt_tokens);

/*
 * Writers make a whole frame at `out` and return its size; 0 when `room` is too small (call
 * fg_channel_submit_bytes or fg_channel_token_bytes first, the others need at most
 * FG_CHANNEL_HEADER_BYTES + 64 + text).
 */
size_t fg_channel_submit_bytes(const struct fg_channel_submit *submit);
size_t fg_channel_token_bytes(const struct fg_channel_token *token);
size_t fg_channel_write_submit(unsigned char *out, size_t room, uint64_t request_id,
                               const struct fg_channel_submit *submit);
size_t fg_channel_write_cancel(unsigned char *out, size_t room, uint64_t request_id);
size_t fg_channel_write_hello(unsigned char *out, size_t room,
                              const struct fg_channel_hello *hello);
size_t fg_channel_write_token(unsigned char *out, size_t room, uint64_t request_id,
                              const struct fg_channel_token *token);
size_t fg_channel_write_done(unsigned char *out, size_t room, uint64_t request_id,
                             const struct fg_channel_done *done);
size_t fg_channel_write_begun(unsigned char *out, size_t room, uint64_t request_id,
                              uint32_t prompt_tokens);
size_t fg_channel_write_refused(unsigned char *out, size_t room, uint64_t request_id,
                                const struct fg_channel_refused *refused);

#endif
