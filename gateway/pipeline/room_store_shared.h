/*
 * room_store_shared.h: the memory a waiting room's line lives in: of this process, of those that
 * come after it, or in a file.
 *
 *    head: magic, version, sizes, mutex, line | a byte a place (policies/room_places.h) | pace
 *
 * Job      keep the line through the end of a process: with memory that outlives it the gateways
 *          before and after a reload or a crash work on the very same line, and with a file those
 *          before and after a restart of the machine.
 * Protocol one robust mutex shared between processes, held for one step of the line. Who gets it
 *          after its owner died makes the line whole again (fg_waiting_room_repair). Byte 0 of the
 *          file is locked while somebody opens it, byte 1 for as long as it is open: who finds
 *          nobody there makes the mutex anew, as after a power cut.
 * Memory   reserved at the start, on disk too: a full disk is found then and not in a flood.
 */
#ifndef FG_PIPELINE_ROOM_STORE_SHARED_H
#define FG_PIPELINE_ROOM_STORE_SHARED_H

#include "base/status.h"
#include "policies/admit_rate.h"
#include "policies/waiting_room.h"

struct fg_room_store;

/* Memory without a name (memfd_create) that a parent keeps for one gateway after the other. */
struct fg_room_memory {
    int fd;        /* empty, or with a line; -1: none */
    int before_fd; /* where the line is that is to move into an empty one; -1: nowhere */
};

/* `file` NULL: the line lives in `memory`, whose descriptors stay the caller's; NULL: in memory of
 * this process. A file that is not of this kind is an error, one whose line contradicts itself
 * begins a new line. NULL with `error`. Start-up. */
struct fg_room_store *fg_room_store_open(const char *file, const struct fg_room_memory *memory,
                                         const struct fg_waiting_room_config *config,
                                         uint64_t now_ns, struct fg_error *error);
void fg_room_store_close(struct fg_room_store *store);

/* The room, locked: whole, and nobody else's until it is unlocked. Any thread. */
struct fg_waiting_room *fg_room_store_lock(struct fg_room_store *store);
void fg_room_store_unlock(struct fg_room_store *store);

/* What `admit: auto` had learned when it was last written here; of zeroes: nothing. Valid while the
 * room is locked. */
struct fg_admit_rate *fg_room_store_pace(struct fg_room_store *store);

#endif
