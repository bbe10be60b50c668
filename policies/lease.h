/*
 * lease.h: one gateway's part in a limit that several gateways count together.
 * Thread   one owner at a time; the gateway shards and locks.
 *
 *    take --> leased tokens left? spend one --------------------------------------> pass
 *               `-- no --> the shared count has said no? refuse until it says    --> refuse
 *                            `-- no --> the gateway's own share has some? in advance --> pass
 *    what ran low, or was passed in advance: ask. The answer comes later, or never: then a rest.
 */
#ifndef FG_POLICIES_LEASE_H
#define FG_POLICIES_LEASE_H

#include "policies/key_table.h"
#include "policies/limit_table.h"
#include "policies/token_bucket.h"

/* The same for all keys of a limit. */
struct fg_lease_rule {
    struct fg_token_bucket share; /* fresh: what a gateway lets pass by itself; burst = block */
    uint64_t burst;               /* of the whole limit */
    uint32_t block;               /* most tokens leased, or passed in advance, at a time */
};

/* What is kept of one key; the time stamps are monotonic. */
struct fg_lease {
    struct fg_key_entry key;   /* first; the table's */
    uint64_t share_fraction;   /* of the share, as in fg_token_bucket */
    uint64_t share_updated_ns; /* likewise */
    uint64_t quiet_until_ns;   /* no question before: the count had nothing, or did not answer */
    int64_t unreported;        /* passed in advance and not told yet; below 0: to be given back */
    uint32_t share_tokens;
    uint32_t left;       /* leased and not spent */
    uint32_t demand;     /* taken since the last lease was asked for */
    uint32_t wanted;     /* of the lease that was asked for last */
    uint32_t in_advance; /* of what the question under way tells, paid by the share */
    uint8_t lost_in_row; /* questions without an answer since the last answer; 0: quiet means no */
    bool is_asking;      /* a question is under way */
    bool is_tight;       /* the last answer gave less than was wanted */
    bool is_known;       /* more than one request has come: worth a question */
};

/* What to ask the shared count. */
struct fg_lease_question {
    bool is_due;
    bool is_held_back; /* would be due, but the count did not answer and is given a rest */
    int64_t charged;   /* has passed already, and must be counted */
    uint32_t wanted;   /* to be leased, as far as there is room */
};

/*
 * `amount` every `period_ns` with `burst` for all together. `block` is 1 to burst;
 * `share_permille` of the rate may pass here while the shared count is not to be had.
 */
void fg_lease_rule_init(struct fg_lease_rule *rule, uint64_t amount, uint64_t period_ns,
                        uint64_t burst, uint32_t block, uint32_t share_permille);

/* A new key: nothing is leased. Leaves lease->key alone. */
void fg_lease_init(const struct fg_lease_rule *rule, struct fg_lease *lease, uint64_t now_ns);

/*
 * May `cost` pass? *question says what to ask; if it is due, exactly one of _granted, _lost and
 * _not_asked must follow. wait_ns of a refusal is an estimate: others take from the same count.
 */
bool fg_lease_try_take(const struct fg_lease_rule *rule, struct fg_lease *lease, uint64_t now_ns,
                       uint64_t cost, struct fg_limit_verdict *verdict,
                       struct fg_lease_question *question);

/* The answer: so many tokens; with none of them, how long until there may be one. */
void fg_lease_granted(const struct fg_lease_rule *rule, struct fg_lease *lease, uint64_t now_ns,
                      uint32_t granted, uint64_t wait_ns);

/*
 * How long to ask nothing after so many questions in a row without an answer: 100 ms, doubled with
 * each one up to 3.2 s, and up to a quarter more by `lot`, so that not all come back at once.
 */
uint64_t fg_lease_rest_ns(unsigned lost_in_row, uint64_t lot);

/* No answer came, or none that is one; whether the shared count has heard is open, and it is not
 * told again. The share applies, and the count is left alone for fg_lease_rest_ns. */
void fg_lease_lost(struct fg_lease *lease, uint64_t now_ns);

/* The question could not be put: the next one may be tried at once. */
void fg_lease_not_asked(const struct fg_lease_rule *rule, struct fg_lease *lease,
                        const struct fg_lease_question *question);

/* What was taken turned out to cost `used`. */
void fg_lease_settle(const struct fg_lease_rule *rule, struct fg_lease *lease, uint64_t now_ns,
                     uint64_t taken, uint64_t used);

/* For a key table, with the rule as its context: forgets who has used least. */
bool fg_lease_is_worse(const void *rule, const struct fg_key_entry *a, const struct fg_key_entry *b,
                       uint64_t now_ns);

#endif
