/*
 * json_body.c: what is wrong with a body that is no JSON object is told with its place.
 */
#include "json_body.h"

#include "base/json_values.h"

#include <stdio.h>

/* It would hold up the loop for longer than it may be. */
static void refuse_values(struct fg_exchange *ex, size_t count, uint64_t most)
{
    char message[120];
    snprintf(message, sizeof(message),
             "the body has more JSON values than are read; expected at most %llu",
             (unsigned long long)most);
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

json_t *fg_json_body_parse_object(struct fg_exchange *ex, struct fg_span body, uint64_t values_max)
{
    json_error_t error;
    size_t count = fg_json_values_most(body);
    if (count > values_max) {
        refuse_values(ex, count, values_max);
        return NULL;
    }
    json_t *root =
        json_loadb(body.len == 0 ? "" : body.data, body.len, JSON_REJECT_DUPLICATES, &error);
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
