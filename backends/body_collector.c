/*
 * body_collector.c: doubling in the arena; what was outgrown is freed with the request.
 */
#include "body_collector.h"

#include "base/json_values.h"

#include <stdio.h>

enum fg_status fg_body_collector_add(struct fg_body_collector *body, struct fg_exchange *ex,
                                     const void *data, size_t len)
{
    if (len > body->bytes_max - body->len ||
        (ex->content_length > 0 && (uint64_t)ex->content_length > body->bytes_max))
        return FG_ERR_LIMIT;
    if (len > body->capacity - body->len) {
        size_t wanted = body->len + len;
        size_t capacity = body->capacity == 0 ? 512 : body->capacity * 2;
        if (ex->content_length > 0 && capacity < (size_t)ex->content_length)
            capacity = (size_t)ex->content_length;
        if (capacity > body->bytes_max)
            capacity = body->bytes_max;
        if (capacity < wanted)
            capacity = wanted;
        char *grown = fg_arena_try_alloc(ex->arena, capacity);
        if (grown == NULL)
            return FG_ERR_NO_MEMORY;
        if (body->len > 0)
            memcpy(grown, body->data, body->len);
        body->data = grown;
        body->capacity = capacity;
    }
    if (len > 0) {
        memcpy(body->data + body->len, data, len);
        body->len += len;
        fg_exchange_consumed(ex, len);
    }
    return FG_OK;
}

/* It would hold up the loop for longer than it may be. */
static void refuse_values(struct fg_exchange *ex, size_t count, size_t most)
{
    char message[120];
    snprintf(message, sizeof(message),
             "the body has more JSON values than are read; expected at most %zu", most);
    fg_exchange_refuse(ex, &(struct fg_backend_refusal){
                               .status = 413,
                               .type = "invalid_request",
                               .code = "body_too_complex",
                               .message = message,
                               .policy = "orders.body_values_max",
                               .value = count,
                               .limit = most,
                           });
}

json_t *fg_body_collector_parse_object(const struct fg_body_collector *body, struct fg_exchange *ex)
{
    json_error_t error;
    size_t count = fg_json_values_most(fg_span_make(body->data, body->len));
    if (count > body->values_max) {
        refuse_values(ex, count, body->values_max);
        return NULL;
    }
    json_t *root =
        json_loadb(body->len == 0 ? "" : body->data, body->len, JSON_REJECT_DUPLICATES, &error);
    char message[320];
    if (root == NULL) {
        snprintf(message, sizeof(message),
                 "the body is not valid JSON: line %d, column %d: %s; expected a JSON object",
                 error.line, error.column, error.text);
    } else if (!json_is_object(root)) {
        snprintf(message, sizeof(message), "the body is JSON but not an object; expected {...}");
        json_decref(root);
        root = NULL;
    } else {
        return root;
    }
    fg_exchange_refuse(ex, &(struct fg_backend_refusal){
                               .status = 400,
                               .type = "invalid_request",
                               .code = "invalid_json",
                               .message = message,
                           });
    return NULL;
}
