/*
 * early_body.c: it doubles as it comes. Room for all that was announced would be taken by whoever
 * announces much and sends a byte.
 */
#include "early_body.h"

#include <assert.h>
#include <string.h>

#define FIRST_BYTES ((size_t)1024)

bool fg_early_body_try_add(struct fg_early_body *body, struct fg_arena *arena, const void *data,
                           size_t len, uint64_t bytes_max)
{
    assert(len > 0);
    const size_t wanted = body->len + len;
    if (wanted > body->capacity) {
        size_t capacity = body->capacity == 0 ? FIRST_BYTES : 2 * body->capacity;
        if (capacity > bytes_max)
            capacity = (size_t)bytes_max;
        if (capacity < wanted)
            capacity = wanted;
        char *data_now = body->capacity == 0
                             ? fg_arena_try_alloc(arena, capacity)
                             : fg_arena_try_grow(arena, body->data, body->capacity, capacity);
        if (data_now == NULL)
            return false;
        body->data = data_now;
        body->capacity = capacity;
    }
    memcpy(body->data + body->len, data, len);
    body->len = wanted;
    return true;
}
