/*
 * recorder_shared.c: a ring of records, of which all but one can be found, under a mutex.
 */
#include "recorder_shared.h"

#include "base/prefetch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* What the next record will touch: by then others have taken these lines of the cache. */
#define PREFETCHED_BYTES ((size_t)640) /* with three decisions */

_Static_assert(PREFETCHED_BYTES <= sizeof(struct fg_record), "they are one record's");

struct fg_recorder {
    pthread_mutex_t lock;
    uint64_t added; /* written by the loop under lock */
    size_t place_count;
    struct fg_record ring[]; /* guarded by lock, but for the one at `added`, which is the loop's */
};

struct fg_recorder *fg_recorder_create(size_t capacity)
{
    struct fg_recorder *recorder =
        calloc(1, sizeof(*recorder) + (capacity + 1) * sizeof(recorder->ring[0]));
    if (recorder == NULL)
        return NULL;
    pthread_mutex_init(&recorder->lock, NULL);
    recorder->place_count = capacity + 1;
    return recorder;
}

void fg_recorder_destroy(struct fg_recorder *recorder)
{
    if (recorder == NULL)
        return;
    pthread_mutex_destroy(&recorder->lock);
    free(recorder);
}

struct fg_record *fg_recorder_next(struct fg_recorder *recorder)
{
    return &recorder->ring[recorder->added % recorder->place_count];
}

void fg_recorder_add(struct fg_recorder *recorder)
{
    pthread_mutex_lock(&recorder->lock);
    recorder->added++;
    pthread_mutex_unlock(&recorder->lock);
    fg_prefetch(fg_recorder_next(recorder), PREFETCHED_BYTES);
}

bool fg_recorder_find(struct fg_recorder *recorder, struct fg_span request_id,
                      struct fg_record *record)
{
    bool is_found = false;
    pthread_mutex_lock(&recorder->lock);
    uint64_t capacity = recorder->place_count - 1;
    uint64_t count = recorder->added < capacity ? recorder->added : capacity;
    for (uint64_t i = 1; i <= count && !is_found; i++) {
        const struct fg_record *one =
            &recorder->ring[(recorder->added - i) % recorder->place_count];
        is_found = strlen(one->request_id) == request_id.len &&
                   memcmp(one->request_id, request_id.data, request_id.len) == 0;
        if (is_found)
            *record = *one;
    }
    pthread_mutex_unlock(&recorder->lock);
    return is_found;
}

const char *fg_decided_name(enum fg_decided decided)
{
    static const char *const names[] = {"pass", "wait", "refuse", "would_wait", "would_refuse"};
    return names[decided];
}
