/*
 * json_reply.c: dump compactly, one head, one write.
 */
#include "json_reply.h"

#include <stdlib.h>

void fg_json_reply(struct fg_exchange *ex, unsigned status, json_t *body,
                   const struct fg_field *extra, const char *cache_control)
{
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    struct fg_field *fields = fg_arena_try_alloc(ex->arena, 4 * sizeof(*fields));
    size_t len = text == NULL ? 0 : strlen(text);
    struct fg_span length = fg_arena_try_u64(ex->arena, len);
    if (text == NULL || fields == NULL || length.data == NULL) {
        free(text);
        fg_exchange_fail(ex, FG_FAILURE_NO_MEMORY, "no memory for a JSON answer");
        return;
    }
    fields[0] = (struct fg_field){FG_SPAN("content-type"), FG_SPAN("application/json")};
    fields[1] = (struct fg_field){FG_SPAN("content-length"), length};
    fields[2] =
        (struct fg_field){FG_SPAN("cache-control"),
                          fg_span_from_string(cache_control == NULL ? "no-store" : cache_control)};
    if (extra != NULL)
        fields[3] = *extra;
    fg_exchange_head(ex, status, fields, extra == NULL ? 3 : 4);
    (void)fg_exchange_write(ex, text, len);
    free(text);
    fg_exchange_end(ex);
}
