/*
 * counters_shared.h: numbers that one or more threads count up and another reads.
 * Protocol  writers add with relaxed order; readers load with relaxed order and accept a value that
 *           is a moment old. No other memory is published through a counter. A counter that only
 * one thread writes uses the _owned call, which is a plain load and store, not a locked
 *           instruction.
 */
#ifndef FG_BASE_COUNTERS_SHARED_H
#define FG_BASE_COUNTERS_SHARED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct fg_counter {
    _Atomic uint64_t value;
};

/* Any thread. */
static inline void fg_counter_add(struct fg_counter *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(&counter->value, amount, memory_order_relaxed);
}

/* Any thread; for gauges. The caller keeps it from going below zero. */
static inline void fg_counter_sub(struct fg_counter *counter, uint64_t amount)
{
    atomic_fetch_sub_explicit(&counter->value, amount, memory_order_relaxed);
}

/* Only the one thread that ever writes this counter. */
static inline void fg_counter_add_owned(struct fg_counter *counter, uint64_t amount)
{
    uint64_t now = atomic_load_explicit(&counter->value, memory_order_relaxed);
    atomic_store_explicit(&counter->value, now + amount, memory_order_relaxed);
}

/* The same for a gauge, which it keeps from going below zero. */
static inline void fg_counter_sub_owned(struct fg_counter *counter, uint64_t amount)
{
    uint64_t now = atomic_load_explicit(&counter->value, memory_order_relaxed);
    atomic_store_explicit(&counter->value, now - amount, memory_order_relaxed);
}

static inline void fg_counter_set(struct fg_counter *counter, uint64_t value)
{
    atomic_store_explicit(&counter->value, value, memory_order_relaxed);
}

static inline uint64_t fg_counter_get(const struct fg_counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

/*
 * A flag that one thread raises for others, with what it wrote before: release on raise, acquire on
 * read.
 */
struct fg_flag {
    _Atomic bool raised;
};

static inline void fg_flag_raise(struct fg_flag *flag)
{
    atomic_store_explicit(&flag->raised, true, memory_order_release);
}

static inline bool fg_flag_is_raised(const struct fg_flag *flag)
{
    return atomic_load_explicit(&flag->raised, memory_order_acquire);
}

#endif
