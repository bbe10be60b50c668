/*
 * ticket_memory_shared.c: see ticket_memory_shared.h.
 */
#include "net/ticket_memory_shared.h"

#include "base/robust_mutex_shared.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

struct fg_ticket_memory {
    pthread_mutex_t lock;
    struct fg_ticket_digest digests[2];
};

struct fg_ticket_memory *fg_ticket_memory_create(void)
{
    struct fg_ticket_memory *memory =
        mmap(NULL, sizeof(*memory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (fg_robust_mutex_init(&memory->lock))
        return memory;
    fg_ticket_memory_destroy(memory);
    return NULL;
}

void fg_ticket_memory_destroy(struct fg_ticket_memory *memory)
{
    if (memory != NULL)
        munmap(memory, sizeof(*memory)); /* others may hold its lock */
}

static void lock(struct fg_ticket_memory *memory)
{
    int got = pthread_mutex_lock(&memory->lock);
    if (got == EOWNERDEAD)
        got = pthread_mutex_consistent(&memory->lock);
    assert(got == 0);
}

void fg_ticket_memory_read(struct fg_ticket_memory *memory, struct fg_ticket_digest out[2])
{
    lock(memory);
    memcpy(out, memory->digests, sizeof(memory->digests));
    pthread_mutex_unlock(&memory->lock);
}

void fg_ticket_memory_write(struct fg_ticket_memory *memory, const struct fg_ticket_digest from[2])
{
    lock(memory);
    memcpy(memory->digests, from, sizeof(memory->digests));
    pthread_mutex_unlock(&memory->lock);
}
