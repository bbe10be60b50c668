/*
 * completion_request_internal.h: what the parts of the request parser share.
 */
#ifndef FG_INFERENCE_COMPLETION_REQUEST_INTERNAL_H
#define FG_INFERENCE_COMPLETION_REQUEST_INTERNAL_H

#include "completion_request.h"

/* One parse; lives on the parser's stack. */
struct fg_completion_parse {
    json_t *root;
    const struct fg_completion_limits *limits;
    struct fg_completion_request *request;
    struct fg_completion_error *error;
};

/*
 * Fill in the error; always false, so that a check can return it. The message is `'param' ` and
 * what `fmt` says of it; `param` NULL: it is about none.
 */
bool fg_completion_reject(struct fg_completion_parse *parse, unsigned status, const char *code,
                          const char *param, const char *fmt, ...) FG_PRINTF(5, 6);
/* A parameter within another ("messages[3].role"), to be passed on to the above; the error's. */
const char *fg_completion_at(struct fg_completion_parse *parse, const char *fmt, ...)
    FG_PRINTF(2, 3);

/* A parameter of the body; NULL when it is absent or null, which mean the same. */
json_t *fg_completion_parameter(const struct fg_completion_parse *parse, const char *name);

/* A whole number of least..most; *is_given tells whether it was there at all. */
bool fg_completion_integer(struct fg_completion_parse *parse, const char *name, json_int_t least,
                           json_int_t most, json_int_t *out, bool *is_given);
/* A number of least..most, or above least when `is_open`. */
bool fg_completion_real(struct fg_completion_parse *parse, const char *name, double least,
                        double most, bool is_open, float *out);

/* Keep `string` alive as long as the request; its text, or data NULL when there is no memory. */
struct fg_span fg_completion_hold(struct fg_completion_parse *parse, json_t *string);

/* messages, or prompt (completion_prompt.c). */
bool fg_completion_parse_messages(struct fg_completion_parse *parse);
bool fg_completion_parse_prompt(struct fg_completion_parse *parse);

/* All of a request for embeddings but the model (embedding_request.c). */
bool fg_completion_parse_embedding(struct fg_completion_parse *parse);

/* Penalties, biases, logprobs, the form of the answer (completion_rules.c). */
bool fg_completion_parse_rules(struct fg_completion_parse *parse);

/* Hold the answer to a schema; `name` is the parameter that it came with. */
bool fg_completion_take_schema(struct fg_completion_parse *parse, const char *name, json_t *schema);

/* tools and tool_choice (completion_tools.c). */
bool fg_completion_parse_tools(struct fg_completion_parse *parse);
/* Put the calls (a non-empty array) of a message behind its content, as the templates have them. */
bool fg_completion_append_calls(struct fg_completion_parse *parse, json_t *calls,
                                size_t message_index, struct fg_span *content);

/* Refuses what would change the meaning of the answer (completion_unsupported.c). */
bool fg_completion_check_unsupported(struct fg_completion_parse *parse);

#endif
