/*
 * clock.h: time as unsigned nanoseconds. Policies get it passed in; everyone else asks here.
 * Thread   any.
 */
#ifndef FG_BASE_CLOCK_H
#define FG_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define FG_US UINT64_C(1000)
#define FG_MS UINT64_C(1000000)
#define FG_S UINT64_C(1000000000)

/* Time since boot that never goes back; for deadlines, intervals and latencies. */
static inline uint64_t fg_clock_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * FG_S + (uint64_t)now.tv_nsec;
}

/*
 * What this thread has run for: what a piece of work costs, however busy the machine is with
 * others. A system call, which the other two are not.
 */
static inline uint64_t fg_clock_thread_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * FG_S + (uint64_t)now.tv_nsec;
}

/* Time since 1970 UTC; for people, tokens and HTTP dates only: it may jump. */
static inline uint64_t fg_clock_wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * FG_S + (uint64_t)now.tv_nsec;
}

/* Whole seconds, for fields that have no smaller unit. */
static inline uint64_t fg_clock_round_up_s(uint64_t ns)
{
    return ns / FG_S + (ns % FG_S != 0);
}

#endif
