/*
 * policy_test.h: what the tests of policies share: cmocka, times, and a seeded random source.
 * A property test prints its seed; FG_TEST_SEED=N runs it again.
 */
#ifndef FG_TEST_POLICY_TEST_H
#define FG_TEST_POLICY_TEST_H

#include "policies/time_units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS FG_POLICY_MS
#define S FG_POLICY_S
#define YEAR (UINT64_C(365) * 24 * FG_POLICY_HOUR)

/* splitmix64: good enough to vary tests, the same on every machine. */
static inline uint64_t test_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint64_t test_below(uint64_t *state, uint64_t bound)
{
    return test_random(state) % bound;
}

static inline uint64_t test_seed(uint64_t usual)
{
    const char *text = getenv("FG_TEST_SEED");
    uint64_t seed = text == NULL ? usual : strtoull(text, NULL, 10);
    print_message("seed %llu\n", (unsigned long long)seed);
    return seed;
}

#endif
