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

/* Fill in the error; always false, so that a check can return it. */
bool fg_completion_reject(struct fg_completion_parse *parse, unsigned status, const char *code,
                          const char *fmt, ...) FG_PRINTF(4, 5);

/* A parameter of the body; NULL when it is absent or null, which mean the same. */
json_t *fg_completion_parameter(const struct fg_completion_parse *parse, const char *name);

/* Keep `string` alive as long as the request; its text, or data NULL when there is no memory. */
struct fg_span fg_completion_hold(struct fg_completion_parse *parse, json_t *string);

/* messages, or prompt (completion_prompt.c). */
bool fg_completion_parse_messages(struct fg_completion_parse *parse);
bool fg_completion_parse_prompt(struct fg_completion_parse *parse);

/* Refuses what would change the meaning of the answer (completion_unsupported.c). */
bool fg_completion_check_unsupported(struct fg_completion_parse *parse);

#endif
