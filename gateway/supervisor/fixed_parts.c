/*
 * fixed_parts.c: two configurations compared, key by key.
 * Thread   the supervisor's only one.
 * Never    decides by a key that a new gateway process, or an exchanged worker, takes over.
 */
#include "fixed_parts.h"

#include "base/text.h"

#include <string.h>

struct difference {
    struct fg_text text;
    bool is_any;
};

static void note(struct difference *difference, const char *key, bool differs)
{
    if (!differs)
        return;
    if (difference->is_any)
        fg_text_add(&difference->text, FG_SPAN(", "));
    fg_text_add(&difference->text, fg_span_from_string(key));
    difference->is_any = true;
}

static bool texts_differ(const char *a, const char *b)
{
    return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) != 0;
}

static bool addresses_differ(const struct fg_config *old, const struct fg_config *now)
{
    for (size_t i = 0; i < old->listener_count && i < now->listener_count; i++) {
        if (strcmp(old->listeners[i].address, now->listeners[i].address) != 0)
            return true;
    }
    return old->listener_count != now->listener_count;
}

/* The files of an embedded Redis, and what it was started with. */
static void note_orders(struct difference *to, const struct fg_config *old,
                        const struct fg_config *now)
{
    const struct fg_orders_conf *a = &old->orders, *b = &now->orders;
    const bool is_embedded = old->has_orders && a->redis.embedded;
    note(to, "orders", old->has_orders != now->has_orders);
    if (!old->has_orders || !now->has_orders)
        return;
    note(to, "orders.redis.embedded", a->redis.embedded != b->redis.embedded);
    if (is_embedded && b->redis.embedded) {
        note(to, "orders.redis.directory", texts_differ(a->redis.directory, b->redis.directory));
        note(to, "orders.redis.memory_max", a->redis.max_memory_bytes != b->redis.max_memory_bytes);
        note(to, "orders.durability", a->durability != b->durability);
    }
    note(to, "orders.fulfil.workers", a->fulfil_workers != b->fulfil_workers);
}

/* What the arena and the workers' sockets were made for. */
static void note_inference(struct difference *to, const struct fg_inference_conf *a,
                           const struct fg_inference_conf *b)
{
    note(to, "inference.enabled", a->enabled != b->enabled);
    if (!a->enabled || !b->enabled)
        return;
    note(to, "inference.model", texts_differ(a->model, b->model));
    note(to, "inference.workers", a->worker_count != b->worker_count);
    note(to, "inference.kv_memory", a->kv_bytes != b->kv_bytes);
    note(to, "inference.kv_type", a->kv_type != b->kv_type);
    note(to, "inference.sequences_max", a->sequences_max != b->sequences_max);
    note(to, "inference.context_max", a->context_max != b->context_max);
    note(to, "inference.socket_directory", texts_differ(a->socket_directory, b->socket_directory));
}

bool fg_fixed_parts_differ(const struct fg_config *old, const struct fg_config *now,
                           unsigned threads, unsigned threads_now, char *text, size_t room)
{
    struct difference difference = {.text = fg_text_over(text, room - 1)};
    note(&difference, "listeners[].address", addresses_differ(old, now));
    note(&difference, "limits.threads", threads != threads_now);
    note(&difference, "admin.address", texts_differ(old->admin.address, now->admin.address));
    note_orders(&difference, old, now);
    note_inference(&difference, &old->inference, &now->inference);
    text[fg_text_span(&difference.text).len] = '\0';
    return difference.is_any;
}
