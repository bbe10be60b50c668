/*
 * ip_table.c: open addressing, never more than half full.
 */
#include "net/ip_table.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum fg_status fg_ip_table_init(struct fg_ip_table *table, size_t connections_max, uint32_t share,
                                uint64_t seed)
{
    size_t slots = 16;
    while (slots < connections_max * 2)
        slots *= 2;
    *table = (struct fg_ip_table){.mask = slots - 1, .share = share, .seed = seed};
    table->slots = calloc(slots, sizeof(*table->slots));
    return table->slots == NULL ? FG_ERR_NO_MEMORY : FG_OK;
}

void fg_ip_table_fini(struct fg_ip_table *table)
{
    free(table->slots);
    table->slots = NULL;
}

struct fg_ip_key fg_ip_key_of_ip(const struct fg_ip *ip)
{
    struct fg_ip_key key = {0, 0};
    if (fg_ip_is_v4(ip)) {
        uint32_t v4;
        memcpy(&v4, ip->bytes + 12, sizeof(v4));
        key.low = (UINT64_C(0xffff) << 32) | ntohl(v4);
    } else {
        memcpy(&key.high, ip->bytes, sizeof(key.high));
    }
    return key;
}

struct fg_ip_key fg_ip_key_of(const struct sockaddr *address)
{
    struct fg_ip ip;
    return fg_ip_from_sockaddr(address, &ip) ? fg_ip_key_of_ip(&ip) : (struct fg_ip_key){0, 0};
}

uint64_t fg_ip_key_hash(struct fg_ip_key key, uint64_t seed)
{
    uint64_t hash = (key.high ^ seed) * 0x9e3779b97f4a7c15u;
    hash = (hash ^ (hash >> 32) ^ key.low) * 0xff51afd7ed558ccdu;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
    return hash ^ (hash >> 33);
}

static size_t home_of(const struct fg_ip_table *table, struct fg_ip_key key)
{
    return (size_t)fg_ip_key_hash(key, table->seed) & table->mask;
}

static bool is_same(struct fg_ip_key a, struct fg_ip_key b)
{
    return a.high == b.high && a.low == b.low;
}

/* Its slot, or the free one where it would go. */
static size_t find(const struct fg_ip_table *table, struct fg_ip_key key)
{
    size_t at = home_of(table, key);
    while (table->slots[at].count > 0 && !is_same(table->slots[at].key, key))
        at = (at + 1) & table->mask;
    return at;
}

bool fg_ip_table_try_add(struct fg_ip_table *table, struct fg_ip_key key, uint32_t max)
{
    struct fg_ip_slot *slot = &table->slots[find(table, key)];
    if (slot->count >= max)
        return false;
    if (slot->count == 0) {
        if (table->used > table->mask / 2)
            return false;
        table->used++;
        slot->key = key;
    }
    slot->count++;
    table->excess += slot->count > table->share;
    return true;
}

uint32_t fg_ip_table_count(const struct fg_ip_table *table, struct fg_ip_key key)
{
    return table->slots[find(table, key)].count;
}

void fg_ip_table_remove(struct fg_ip_table *table, struct fg_ip_key key)
{
    size_t hole = find(table, key);
    assert(table->slots[hole].count > 0);
    table->excess -= table->slots[hole].count > table->share;
    if (--table->slots[hole].count > 0)
        return;
    table->used--;
    /* Entries that were pushed past the hole move back, so that finding them still works. */
    for (size_t at = (hole + 1) & table->mask; table->slots[at].count > 0;
         at = (at + 1) & table->mask) {
        size_t home = home_of(table, table->slots[at].key);
        if (((at - home) & table->mask) < ((at - hole) & table->mask))
            continue;
        table->slots[hole] = table->slots[at];
        table->slots[at].count = 0;
        hole = at;
    }
}
