/*
 * completion_request.h: the body of a completion request, checked, as a worker needs it.
 * Job      parse and check POST /v1/chat/completions, /v1/completions and /v1/embeddings: every
 * type and range, and every parameter that would change the meaning of the answer and is not done
 * here is refused by name. Parameters that change nothing (user, metadata, ...) are passed over.
 * Thread   any: no I/O, no clock, no state; a long body is parsed on a helper thread.
 * Memory   the heap: the texts that are needed, nothing else of the body. Freed by fini.
 * Source   the OpenAI API reference; extensions top_k, ignore_eos, enable_thinking as vLLM has
 * them.
 */
#ifndef FG_INFERENCE_COMPLETION_REQUEST_H
#define FG_INFERENCE_COMPLETION_REQUEST_H

#include "inference/worker/channel.h"

#include <jansson.h>

#define FG_COMPLETION_STOP_BYTES_MAX ((size_t)256) /* as scheduler/stop_match.h keeps */
#define FG_COMPLETION_CHOICES_MAX FG_CHANNEL_CHOICES_MAX
#define FG_COMPLETION_INPUTS_MAX 256u /* texts of one request for embeddings */

/* Which endpoint it came to. */
enum fg_completion_kind { FG_COMPLETION_TEXT, FG_COMPLETION_CHAT, FG_COMPLETION_EMBEDDING };

struct fg_completion_limits {
    const char *model_name;
    uint32_t max_tokens_default;
    uint32_t max_tokens_limit; /* at least 1 */
};

struct fg_completion_request {
    bool is_chat;
    enum fg_task task;
    bool is_base64; /* how embeddings are written */
    bool is_stream;
    bool include_usage;
    bool ignore_end;
    bool thinking;
    bool has_seed;         /* else the caller sets sampling.seed */
    uint32_t max_tokens;   /* of each choice */
    uint32_t choice_count; /* at least 1 */
    struct fg_sampling sampling;
    uint32_t message_count;
    struct fg_channel_message *messages; /* owned; the spans point into `held` or constants */
    uint32_t stop_count;
    struct fg_span stops[FG_CHANNEL_STOPS_MAX];
    struct fg_span tools; /* as in struct fg_channel_submit */
    bool forces_call;     /* the answer is a call of a tool and nothing else */
    enum fg_constraint constraint;
    struct fg_span schema;
    uint32_t bias_count;
    unsigned char *bias; /* owned; as in struct fg_channel_submit */
    json_t *held;        /* array of the strings that the spans point into */
};

struct fg_completion_error {
    unsigned status;
    const char *code;  /* constant */
    char param[112];   /* the parameter that it is about; empty: none */
    char message[320]; /* begins with its name, in quotes */
};

/*
 * Parse `body`. False with *error filled, and then there is nothing to free. Nothing of `body` or
 * `limits` is kept.
 */
bool fg_completion_request_parse(struct fg_completion_request *request,
                                 enum fg_completion_kind kind, struct fg_span body,
                                 const struct fg_completion_limits *limits,
                                 struct fg_completion_error *error);

/* A zeroed request is fine. */
void fg_completion_request_fini(struct fg_completion_request *request);

#endif
