/*
 * cache_object_shared.c: counted heads and bodies.
 *
 *    object: struct | fields | strings        body: struct | bytes
 */
#include "cache_object_shared.h"

#include "base/list.h"

#include <assert.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define LENGTH_TEXT_BYTES ((size_t)24)

struct fg_cache_body {
    atomic_uint references;
    atomic_uint claimed; /* bits 1 << coding */
    size_t len;
    unsigned stored; /* objects in the store; guarded by the shard's lock */
    /* Counts it, since it left the store; set under that lock, looked at without it. */
    struct fg_counter *_Atomic lent;
    struct fg_cache_body *_Atomic variants[FG_CODING_COUNT];
    char data[];
};

struct counted_object {
    atomic_uint references;
    struct fg_cache_object object;
};

/* ---- bodies ---- */

struct fg_cache_body *fg_cache_body_create(size_t len)
{
    struct fg_cache_body *body = malloc(sizeof(*body) + len);
    if (body == NULL)
        return NULL;
    atomic_init(&body->references, 1);
    atomic_init(&body->claimed, 0);
    for (unsigned i = 0; i < FG_CODING_COUNT; i++)
        atomic_init(&body->variants[i], NULL);
    body->len = len;
    body->stored = 0;
    atomic_init(&body->lent, NULL);
    return body;
}

char *fg_cache_body_room(struct fg_cache_body *body)
{
    return body->data;
}

void fg_cache_body_set_len(struct fg_cache_body *body, size_t len)
{
    assert(len <= body->len);
    body->len = len;
}

struct fg_span fg_cache_body_span(const struct fg_cache_body *body)
{
    return fg_span_make(body->data, body->len);
}

void fg_cache_body_acquire(struct fg_cache_body *body)
{
    atomic_fetch_add_explicit(&body->references, 1, memory_order_relaxed);
}

void fg_cache_body_release(void *object)
{
    struct fg_cache_body *body = object;
    /* acq_rel: the last owner sees all that the others did before they let go */
    if (body == NULL || atomic_fetch_sub_explicit(&body->references, 1, memory_order_acq_rel) != 1)
        return;
    struct fg_counter *lent = atomic_load_explicit(&body->lent, memory_order_relaxed);
    if (lent != NULL)
        fg_counter_sub(lent, body->len);
    for (unsigned i = 0; i < FG_CODING_COUNT; i++) /* variants have none of their own: one level */
        fg_cache_body_release(atomic_load_explicit(&body->variants[i], memory_order_relaxed));
    free(body);
}

struct fg_cache_body *fg_cache_body_variant(struct fg_cache_body *body, enum fg_coding coding)
{
    if (coding == FG_CODING_IDENTITY)
        return body;
    return atomic_load_explicit(&body->variants[coding], memory_order_acquire);
}

void fg_cache_body_set_variant(struct fg_cache_body *body, enum fg_coding coding,
                               struct fg_cache_body *variant)
{
    assert(coding != FG_CODING_IDENTITY && fg_cache_body_variant(body, coding) == NULL);
    atomic_store_explicit(&body->variants[coding], variant, memory_order_release);
}

bool fg_cache_body_claim_variant(struct fg_cache_body *body, enum fg_coding coding)
{
    unsigned bit = 1u << coding;
    if ((atomic_load_explicit(&body->claimed, memory_order_relaxed) & bit) != 0)
        return false;
    return (atomic_fetch_or_explicit(&body->claimed, bit, memory_order_relaxed) & bit) == 0;
}

void fg_cache_body_unclaim_variant(struct fg_cache_body *body, enum fg_coding coding)
{
    atomic_fetch_and_explicit(&body->claimed, ~(1u << coding), memory_order_relaxed);
}

bool fg_cache_body_is_lent(const struct fg_cache_body *body)
{
    return atomic_load_explicit(&body->lent, memory_order_relaxed) != NULL;
}

void fg_cache_body_enter_store(struct fg_cache_body *body)
{
    body->stored++;
    struct fg_counter *lent = atomic_exchange_explicit(&body->lent, NULL, memory_order_relaxed);
    if (lent != NULL)
        fg_counter_sub(lent, body->len);
}

void fg_cache_body_leave_store(struct fg_cache_body *body, struct fg_counter *lent)
{
    assert(body->stored > 0 && !fg_cache_body_is_lent(body));
    if (--body->stored > 0)
        return;
    /* the caller's reference goes later: whoever frees it sees this */
    atomic_store_explicit(&body->lent, lent, memory_order_relaxed);
    fg_counter_add(lent, body->len);
}

/* ---- objects ---- */

static struct counted_object *counted(struct fg_cache_object *object)
{
    return FG_CONTAINER_OF(object, struct counted_object, object);
}

static struct fg_span put(char **at, struct fg_span span)
{
    struct fg_span copy = {*at, span.len};
    if (span.data == NULL)
        copy.data = NULL;
    if (span.len > 0)
        memcpy(*at, span.data, span.len);
    *at += span.len;
    return copy;
}

static size_t text_bytes(const struct fg_cache_draft *draft)
{
    size_t bytes = draft->key.len + draft->vary.len + draft->selects.len + draft->tags.len;
    for (size_t i = 0; i < draft->field_count; i++)
        bytes += draft->fields[i].name.len + draft->fields[i].value.len;
    return bytes + LENGTH_TEXT_BYTES;
}

struct fg_cache_object *fg_cache_object_create(const struct fg_cache_draft *draft)
{
    struct counted_object *made =
        malloc(sizeof(*made) + draft->field_count * sizeof(struct fg_field) + text_bytes(draft));
    if (made == NULL)
        return NULL;
    struct fg_field *fields = (struct fg_field *)(void *)(made + 1);
    char *at = (char *)(fields + draft->field_count);
    atomic_init(&made->references, 1);
    made->object = (struct fg_cache_object){.head = *draft};
    struct fg_cache_object *object = &made->object;
    object->length_text.data = at;
    at += LENGTH_TEXT_BYTES;
    object->head.key = put(&at, draft->key);
    object->head.vary = put(&at, draft->vary);
    object->head.selects = put(&at, draft->selects);
    object->head.tags = put(&at, draft->tags);
    object->head.fields = fields;
    for (size_t i = 0; i < draft->field_count; i++) {
        fields[i].name = put(&at, draft->fields[i].name);
        fields[i].value = put(&at, draft->fields[i].value);
        if (draft->response.has_etag && fg_span_equal(fields[i].name, FG_SPAN("etag")))
            object->etag = fields[i].value;
        else if (fg_span_equal(fields[i].name, FG_SPAN("last-modified")))
            object->last_modified = fields[i].value;
    }
    return object;
}

void fg_cache_object_set_body(struct fg_cache_object *object, struct fg_cache_body *body)
{
    assert(object->body == NULL);
    object->body = body;
    int len =
        snprintf((char *)(uintptr_t)object->length_text.data, LENGTH_TEXT_BYTES, "%zu", body->len);
    object->length_text.len = (size_t)len;
}

uint64_t fg_cache_object_bytes(const struct fg_cache_object *object)
{
    struct counted_object *made = counted((struct fg_cache_object *)(uintptr_t)object);
    uint64_t bytes = malloc_usable_size(made) + malloc_usable_size(object->body);
    if (object->head.is_compressible)
        bytes += object->body->len; /* its variants together are never kept at more */
    return bytes;
}

void fg_cache_object_acquire(struct fg_cache_object *object)
{
    atomic_fetch_add_explicit(&counted(object)->references, 1, memory_order_relaxed);
}

void fg_cache_object_release(struct fg_cache_object *object)
{
    if (object == NULL ||
        atomic_fetch_sub_explicit(&counted(object)->references, 1, memory_order_acq_rel) != 1)
        return;
    fg_cache_body_release(object->body);
    free(counted(object));
}
