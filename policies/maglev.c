/*
 * maglev.c: consistent hashing by a lookup table.
 * Job      every host has its own order of preference over the slots (offset + i * skip, modulo a
 *          prime); the hosts take turns, in the order of their hashes, to claim their next free
 *          slot, heavier ones more often.
 * Thread   one owner at a time.
 * Never    allocates. A host that leaves gives up its slots and few others move.
 * Source   Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI
 *          2016, section 3.4. Departure: a host claims a slot in a round only when its weight has
 *          earned one (due >= the heaviest weight), instead of every round.
 */
#include "policies/maglev.h"

#include <assert.h>
#include <stdlib.h>

#define FREE_SLOT UINT16_MAX
#define FEW_HOSTS 1638u /* have ten slots each at least; more have 32 */

uint32_t fg_maglev_slot_count(size_t host_count)
{
    return host_count <= FEW_HOSTS ? 16381 : 262147;
}

/* A second number out of one hash (the finaliser of splitmix64). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t claim(uint16_t *slots, uint32_t slot_count, struct fg_maglev_host *host)
{
    host->has_slot = true;
    for (;;) {
        uint32_t slot = host->next;
        host->next += host->skip;
        if (host->next >= slot_count)
            host->next -= slot_count;
        if (slots[slot] == FREE_SLOT) {
            slots[slot] = host->index;
            return 1;
        }
    }
}

static uint32_t play_round(uint16_t *slots, uint32_t slot_count, struct fg_maglev_host *hosts,
                           size_t host_count, uint32_t heaviest, uint32_t free_count)
{
    for (size_t i = 0; i < host_count && free_count > 0; i++) {
        hosts[i].due += hosts[i].weight;
        if (hosts[i].due < heaviest && hosts[i].has_slot)
            continue; /* the first slot is for everyone */
        if (hosts[i].due >= heaviest)
            hosts[i].due -= heaviest;
        free_count -= claim(slots, slot_count, &hosts[i]);
    }
    return free_count;
}

/* Who is asked first decides about some slots: not the list, which others have in another order. */
static int compare(const void *a, const void *b)
{
    const struct fg_maglev_host *one = a;
    const struct fg_maglev_host *other = b;
    if (one->hash != other->hash)
        return one->hash < other->hash ? -1 : 1;
    return (one->index > other->index) - (one->index < other->index);
}

void fg_maglev_build(struct fg_maglev *maglev, uint16_t *slots, uint32_t slot_count,
                     struct fg_maglev_host *hosts, size_t host_count)
{
    assert(host_count > 0 && host_count <= FG_MAGLEV_HOSTS_MAX && host_count <= slot_count);
    uint32_t heaviest = 1;
    for (size_t i = 0; i < host_count; i++) {
        struct fg_maglev_host *host = &hosts[i];
        assert(host->weight > 0);
        host->index = (uint16_t)i;
        host->next = (uint32_t)(mix(host->hash) % slot_count);
        host->skip =
            (uint32_t)(mix(host->hash ^ UINT64_C(0x9e3779b97f4a7c15)) % (slot_count - 1)) + 1;
        host->has_slot = false;
        host->due = 0;
        if (host->weight > heaviest)
            heaviest = host->weight;
    }
    qsort(hosts, host_count, sizeof(*hosts), compare);
    for (uint32_t i = 0; i < slot_count; i++)
        slots[i] = FREE_SLOT;
    uint32_t free_count = slot_count;
    while (free_count > 0)
        free_count = play_round(slots, slot_count, hosts, host_count, heaviest, free_count);
    *maglev = (struct fg_maglev){.slots = slots, .slot_count = slot_count};
}
