/*
 * address_share.h: what one address may hold of the connections while they are short.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_ADDRESS_SHARE_H
#define FG_POLICIES_ADDRESS_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* However small the process is, an address may hold so many. */
#define FG_ADDRESS_SHARE_LEAST 8u
/* Most connections that one round of closing names. */
#define FG_ADDRESS_SHARE_PICKED_MAX ((size_t)128)

struct fg_address_share {
    uint32_t connections; /* that one address may hold, at least 1 */
    uint64_t grace_ns;    /* a connection may rest for so long before it counts as stalled */
    uint64_t blamed_ns;   /* when a good part of all was last above the shares; 0: never */
};

/* A connection that its client keeps waiting. */
struct fg_address_share_pick {
    uint64_t since_ns; /* when it last made progress */
    void *connection;  /* the caller's; not looked at */
};

/* Zeroed is empty. */
struct fg_address_share_picks {
    size_t count;
    struct fg_address_share_pick by_age[FG_ADDRESS_SHARE_PICKED_MAX];
};

/* `permille` of what the process can hold, and at least FG_ADDRESS_SHARE_LEAST, divided among
 * `loops` that count for themselves. */
struct fg_address_share fg_address_share_make(uint64_t connections_max, uint32_t permille,
                                              unsigned loops, uint64_t grace_ns);

/* May an address that holds `held` connections have one more? */
bool fg_address_share_admits(const struct fg_address_share *share, uint32_t held);

/*
 * A connection of an address that holds `held` was looked at: it has waited for its client since
 * `since_ns` (0: it does not, but makes progress). True: it is among the picks, until others that
 * have waited longer fill them: PICKED_MAX stay. Logarithmic in that number.
 */
bool fg_address_share_offer(const struct fg_address_share *share,
                            struct fg_address_share_picks *picks, uint64_t now_ns, uint32_t held,
                            uint64_t since_ns, void *connection);

/* Puts the picks in order, the longest without progress first. Nothing can be offered after it. */
void fg_address_share_sort(struct fg_address_share_picks *picks);

/*
 * `excess` of the `open` connections are above their addresses' shares. While that is a quarter or
 * more, and for FG_ADDRESS_SHARE_SPARED_NS after, steps that hurt everybody need not hurt whoever
 * keeps to its share: they last longer than their cause, which is with the others.
 */
#define FG_ADDRESS_SHARE_SPARED_NS (UINT64_C(5) * 1000000000)
void fg_address_share_note(struct fg_address_share *share, uint64_t now_ns, uint64_t excess,
                           uint64_t open);
/* Is an address with `held` spared now? */
bool fg_address_share_spares(const struct fg_address_share *share, uint64_t now_ns, uint32_t held);

/* Must this pick be closed now that its address holds `held`, after those before it have gone? */
bool fg_address_share_takes(const struct fg_address_share *share, uint32_t held);

#endif
