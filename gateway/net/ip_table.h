/*
 * ip_table.h: how many connections each client address has open.
 * Job      count up and down; an IPv6 client is its /64, since it can choose the rest.
 * Thread   the loop's.
 * Memory   one table of at least twice as many slots as connections may be open, made at the start.
 *    linear probing; an entry whose count falls to 0 is taken out by moving its followers up
 */
#ifndef FG_NET_IP_TABLE_H
#define FG_NET_IP_TABLE_H

#include "base/cidr.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct fg_ip_key {
    uint64_t high; /* IPv6: the network */
    uint64_t low;  /* IPv4: ::ffff:a.b.c.d */
};

struct fg_ip_slot {
    struct fg_ip_key key;
    uint32_t count; /* 0: free */
};

struct fg_ip_table {
    struct fg_ip_slot *slots;
    size_t mask;
    size_t used;
    uint32_t share; /* what an address may hold without being in excess of it */
    size_t excess;  /* connections above that, of all addresses */
    uint64_t seed;
};

/* FG_ERR_NO_MEMORY. `seed` keeps clients from choosing their slots. */
FG_MUST_USE enum fg_status fg_ip_table_init(struct fg_ip_table *table, size_t connections_max,
                                            uint32_t share, uint64_t seed);
void fg_ip_table_fini(struct fg_ip_table *table);

struct fg_ip_key fg_ip_key_of(const struct sockaddr *address);
struct fg_ip_key fg_ip_key_of_ip(const struct fg_ip *ip);

/* Spread over all bits; who does not know the seed cannot choose it. */
uint64_t fg_ip_key_hash(struct fg_ip_key key, uint64_t seed);

/* One more from `key`; false when it has `max` already. */
bool fg_ip_table_try_add(struct fg_ip_table *table, struct fg_ip_key key, uint32_t max);
/* How many it has. */
uint32_t fg_ip_table_count(const struct fg_ip_table *table, struct fg_ip_key key);
/* One less; it must have been added. */
void fg_ip_table_remove(struct fg_ip_table *table, struct fg_ip_key key);

#endif
