/*
 * ticket_memory_shared.h: what one gateway process leaves to the next of the secrets of tickets.
 * Job      the last two, hashed, over reloads and crashes: where they come from may be away by
 *          then, and clients hold tickets under the one before.
 * Protocol a mapping that processes inherit by fork, under one robust mutex. Of an owner that was
 *          killed while it wrote there may be a secret that nobody has ever had: no ticket is under
 *          it, and the next one that is set takes its place.
 * Memory   one page; lives for as long as somebody maps it.
 */
#ifndef FG_NET_TICKET_MEMORY_SHARED_H
#define FG_NET_TICKET_MEMORY_SHARED_H

#include <stdbool.h>

#define FG_TICKET_DIGEST_BYTES 32

/* Zeroed: none. */
struct fg_ticket_digest {
    bool is_set;
    unsigned char bytes[FG_TICKET_DIGEST_BYTES];
};

struct fg_ticket_memory;

/* NULL when memory is short. */
struct fg_ticket_memory *fg_ticket_memory_create(void);
/* This process's mapping of it. NULL is fine. */
void fg_ticket_memory_destroy(struct fg_ticket_memory *memory);

/* The newest, and the one before. Any thread. */
void fg_ticket_memory_read(struct fg_ticket_memory *memory, struct fg_ticket_digest out[2]);
void fg_ticket_memory_write(struct fg_ticket_memory *memory, const struct fg_ticket_digest from[2]);

#endif
