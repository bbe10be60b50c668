/*
 * inference_metrics_shared.c: the list of blocks, and the ring of seconds.
 */
#include "inference_metrics_shared.h"

#include "base/clock.h"

#include <stdlib.h>

struct fg_inference_metrics *fg_inference_metrics_add(struct fg_inference_metrics_list *list)
{
    struct fg_inference_metrics *metrics = calloc(1, sizeof(*metrics));
    if (metrics == NULL)
        return NULL;
    metrics->next = atomic_load_explicit(&list->first, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&list->first, &metrics->next, metrics,
                                                  memory_order_release, memory_order_relaxed)) {
    }
    return metrics;
}

struct fg_inference_metrics *fg_inference_metrics_first(struct fg_inference_metrics_list *list)
{
    return atomic_load_explicit(&list->first, memory_order_acquire);
}

void fg_inference_metrics_fini(struct fg_inference_metrics_list *list)
{
    struct fg_inference_metrics *metrics = fg_inference_metrics_first(list);
    atomic_store_explicit(&list->first, NULL, memory_order_relaxed);
    while (metrics != NULL) {
        struct fg_inference_metrics *next = metrics->next;
        free(metrics);
        metrics = next;
    }
}

void fg_inference_metrics_token(struct fg_inference_metrics *metrics, uint64_t now_ns)
{
    uint64_t second = now_ns / FG_S & UINT32_MAX;
    struct fg_counter *slot = &metrics->rate[second % FG_INFERENCE_RATE_SLOTS];
    uint64_t before = fg_counter_get(slot);
    fg_counter_set(slot, before >> 32 == second ? before + 1 : (second << 32 | 1));
    fg_counter_add_owned(&metrics->completion_tokens, 1);
}

uint64_t fg_inference_metrics_recent(const struct fg_inference_metrics *metrics, uint64_t now_ns)
{
    uint64_t now_s = now_ns / FG_S & UINT32_MAX;
    uint64_t tokens = 0;
    for (unsigned i = 0; i < FG_INFERENCE_RATE_SLOTS; i++) {
        uint64_t slot = fg_counter_get(&metrics->rate[i]);
        uint64_t second = slot >> 32;
        if (second < now_s && now_s - second <= FG_INFERENCE_RATE_SECONDS)
            tokens += slot & UINT32_MAX;
    }
    return tokens;
}
