/*
 * gcra.h: how many may pass, as a time at which all that passed would have been due.
 * Thread   one owner at a time; shared ones are wrapped by the gateway.
 */
#ifndef FG_POLICIES_GCRA_H
#define FG_POLICIES_GCRA_H

#include <stdbool.h>
#include <stdint.h>

/* `amount` may pass every `period_ns`; fields are read by others, written only here. */
struct fg_gcra {
    uint64_t amount;    /* at least 1; reduced against period_ns */
    uint64_t period_ns; /* at least 1 */
    uint64_t burst;     /* most that pass at one moment; 0 lets nothing pass */
    uint64_t due_ns;    /* monotonic: the "theoretical arrival time" of the next one */
    uint64_t fraction;  /* further 1/amount parts of a nanosecond, below amount */
};

/* Starts with the whole burst. "10 per second" is (10, 1e9). */
void fg_gcra_init(struct fg_gcra *gcra, uint64_t amount, uint64_t period_ns, uint64_t burst,
                  uint64_t now_ns);

/*
 * Let `cost` pass if it is due. On false nothing changes and *wait_ns is how long until the same
 * call can succeed, or UINT64_MAX if it never can (cost > burst). On true *wait_ns is 0. A clock
 * that went back lets nothing pass that was paid for by the time it runs through again.
 */
bool fg_gcra_try_take(struct fg_gcra *gcra, uint64_t now_ns, uint64_t cost, uint64_t *wait_ns);

/* `cost` has passed already, whatever the limit says; those who come next wait for it. */
void fg_gcra_charge(struct fg_gcra *gcra, uint64_t now_ns, uint64_t cost);

/* `cost` of what was taken has not been used after all. Never more than the burst comes of it. */
void fg_gcra_give_back(struct fg_gcra *gcra, uint64_t now_ns, uint64_t cost);

/* How much could pass now, 0 to burst. */
uint64_t fg_gcra_level(const struct fg_gcra *gcra, uint64_t now_ns);

/* How long until the whole burst may pass again: 0 when it may. */
uint64_t fg_gcra_reset_after_ns(const struct fg_gcra *gcra, uint64_t now_ns);

#endif
