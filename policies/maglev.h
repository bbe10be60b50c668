/*
 * maglev.h: which of a set of hosts a key belongs to, so that keys stay where they are when the set
 * changes.
 * Thread   one owner at a time. Memory: the caller's, handed over at build.
 */
#ifndef FG_POLICIES_MAGLEV_H
#define FG_POLICIES_MAGLEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_MAGLEV_HOSTS_MAX 8192u

/* What the table is built from. */
struct fg_maglev_host {
    uint64_t hash;   /* of the host's name: its place does not depend on the order of the list */
    uint32_t weight; /* 1 to 1000000 */

    /* scratch of the build */
    uint64_t due;
    uint32_t next; /* slot that it wants */
    uint32_t skip;
    uint16_t index;
    bool has_slot;
};

struct fg_maglev {
    const uint16_t *slots;
    uint32_t slot_count;
};

/*
 * How many slots suit so many hosts: a prime. All keys move where it changes, so it is the same for
 * any number of hosts that a cluster usually has.
 */
uint32_t fg_maglev_slot_count(size_t host_count);

/*
 * Fill `slots` (slot_count of them, a prime from fg_maglev_slot_count) with host indices, each host
 * by its weight, at least one slot, whatever the order of the hosts, which are put into another.
 * O(slot_count log slot_count), a million instructions for a few hosts; at start and when the set
 * changes. The hosts are needed no longer than the call, the slots as long as the table.
 */
void fg_maglev_build(struct fg_maglev *maglev, uint16_t *slots, uint32_t slot_count,
                     struct fg_maglev_host *hosts, size_t host_count);

/* Where a key starts to look, 0 to slot_count - 1. */
static inline uint32_t fg_maglev_slot(const struct fg_maglev *maglev, uint64_t key_hash)
{
    return (uint32_t)(key_hash % maglev->slot_count);
}

#endif
