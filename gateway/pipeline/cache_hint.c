/*
 * cache_hint.c: the texts lie behind the fields, in one block.
 */
#include "cache_hint.h"

#include <stdlib.h>

static struct fg_span put(char **at, struct fg_span text)
{
    char *to = *at;
    if (text.len > 0)
        memcpy(to, text.data, text.len);
    *at += text.len;
    return fg_span_make(to, text.len);
}

struct fg_cache_hint *fg_cache_hint_create(unsigned status, const struct fg_field *fields,
                                           size_t field_count)
{
    size_t bytes = sizeof(struct fg_cache_hint) + field_count * sizeof(*fields);
    for (size_t i = 0; i < field_count; i++)
        bytes += fields[i].name.len + fields[i].value.len;
    struct fg_cache_hint *hint = malloc(bytes);
    if (hint == NULL)
        return NULL;
    *hint = (struct fg_cache_hint){.status = status, .field_count = field_count};
    char *at = (char *)(hint->fields + field_count);
    for (size_t i = 0; i < field_count; i++) {
        hint->fields[i].name = put(&at, fields[i].name);
        hint->fields[i].value = put(&at, fields[i].value);
    }
    return hint;
}

void fg_cache_hint_destroy_all(struct fg_cache_hint *hint)
{
    while (hint != NULL) {
        struct fg_cache_hint *next = hint->next;
        free(hint);
        hint = next;
    }
}
