/*
 * balance.h: which host of a cluster the next request goes to.
 * Thread   one owner at a time (an event loop balances what it sends itself).
 *
 *    hosts --health--> level by priority --kind--> one host
 *              `-- too few healthy in all levels: all of the level (panic) but who is out
 */
#ifndef FG_POLICIES_BALANCE_H
#define FG_POLICIES_BALANCE_H

#include "policies/maglev.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_BALANCE_NONE SIZE_MAX
#define FG_BALANCE_LEVELS 8u /* priorities 0 to 7 */

enum fg_balance_kind {
    FG_BALANCE_ROUND_ROBIN,   /* smooth, by weight */
    FG_BALANCE_LEAST_REQUEST, /* the less loaded of two random ones */
    FG_BALANCE_HASH,          /* Maglev: by key, with bounded load */
};

struct fg_balance_conf {
    enum fg_balance_kind kind;
    uint32_t panic_permille;         /* below this share of healthy hosts all are used; 0: never */
    uint32_t overprovision_permille; /* how much more than its share a host can carry: 1400 */
    uint32_t hash_load_permille;     /* most load of a host against the mean; 0: not bounded */
    uint64_t slow_start_ns;          /* a new host's weight grows over this time; 0: at once */
};

struct fg_balance_host {
    /* set by the caller, then fg_balance_refresh */
    uint64_t name_hash;
    uint32_t weight;   /* 1 to 1000 */
    uint32_t priority; /* level; 0 is used first */
    bool is_healthy;
    bool is_out; /* by its operator: never chosen, not in panic either, and no part of any share */
    uint64_t healthy_since_ns; /* slow start counts from here; 0: always was */

    /* set by the caller at any time */
    uint32_t in_flight;
    uint64_t not_before_ns; /* passed over until then while there are others */

    /* own */
    int64_t turn;
};

struct fg_balance_level {
    uint32_t begin; /* into order */
    uint32_t usable_count;
    uint64_t usable_weight;
    bool is_even;           /* all weights are the same, */
    uint64_t even_from_ns;  /* once the last slow start is over */
    uint32_t load_permille; /* of all requests */
    bool is_panic;
};

struct fg_balance {
    struct fg_balance_conf conf;
    struct fg_balance_host *hosts;
    size_t host_count;
    uint16_t *order; /* usable hosts, level by level */
    struct fg_maglev maglev;
    struct fg_balance_level levels[FG_BALANCE_LEVELS];
    uint64_t in_flight; /* the sum over all hosts; kept by fg_balance_started / _ended */
    uint64_t panic_total;
};

/* One request's wish. */
struct fg_balance_ask {
    uint64_t now_ns;
    uint64_t random;       /* 64 fresh bits */
    bool has_key;          /* false: a random host stands in for the key's */
    uint64_t key_hash;     /* of what binds requests to a host */
    const uint16_t *tried; /* hosts of earlier attempts, avoided while there are others */
    size_t tried_count;
};

/*
 * `hosts` and `order` (host_count entries) are the caller's and must outlive the balance; the same
 * holds for `slots`, fg_maglev_slot_count(host_count) of them, and `scratch`, host_count entries
 * needed for the call only; both are NULL unless kind is HASH. Refreshes.
 */
void fg_balance_init(struct fg_balance *balance, const struct fg_balance_conf *conf,
                     struct fg_balance_host *hosts, size_t host_count, uint16_t *order,
                     uint16_t *slots, struct fg_maglev_host *scratch);

/* Health of a host has changed: share the load out anew. O(hosts). */
void fg_balance_refresh(struct fg_balance *balance);

/* Index of a host, or FG_BALANCE_NONE when there are none, or all are out. Counts nothing. */
size_t fg_balance_pick(struct fg_balance *balance, const struct fg_balance_ask *ask);

/* A request to host `index` begins or ends. */
static inline void fg_balance_started(struct fg_balance *balance, size_t index)
{
    balance->hosts[index].in_flight++;
    balance->in_flight++;
}

static inline void fg_balance_ended(struct fg_balance *balance, size_t index)
{
    balance->hosts[index].in_flight--;
    balance->in_flight--;
}

#endif
