/*
 * recorder_shared.c: a ring of records under a mutex.
 */
#include "recorder_shared.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct fg_recorder {
    pthread_mutex_t lock;
    /* guarded by lock */
    uint64_t added;
    size_t capacity;
    struct fg_record ring[];
};

struct fg_recorder *fg_recorder_create(size_t capacity)
{
    struct fg_recorder *recorder =
        calloc(1, sizeof(*recorder) + capacity * sizeof(recorder->ring[0]));
    if (recorder == NULL)
        return NULL;
    pthread_mutex_init(&recorder->lock, NULL);
    recorder->capacity = capacity;
    return recorder;
}

void fg_recorder_destroy(struct fg_recorder *recorder)
{
    if (recorder == NULL)
        return;
    pthread_mutex_destroy(&recorder->lock);
    free(recorder);
}

void fg_recorder_add(struct fg_recorder *recorder, const struct fg_record *record)
{
    size_t bytes = offsetof(struct fg_record, decisions) +
                   record->decision_count * sizeof(record->decisions[0]);
    pthread_mutex_lock(&recorder->lock);
    memcpy(&recorder->ring[recorder->added % recorder->capacity], record, bytes);
    recorder->added++;
    pthread_mutex_unlock(&recorder->lock);
}

bool fg_recorder_find(struct fg_recorder *recorder, struct fg_span request_id,
                      struct fg_record *record)
{
    bool is_found = false;
    pthread_mutex_lock(&recorder->lock);
    uint64_t count = recorder->added < recorder->capacity ? recorder->added : recorder->capacity;
    for (uint64_t i = 1; i <= count && !is_found; i++) {
        const struct fg_record *one = &recorder->ring[(recorder->added - i) % recorder->capacity];
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
    static const char *const names[] = {"pass", "wait", "refuse", "would_refuse"};
    return names[decided];
}
