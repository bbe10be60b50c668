/*
 * test_kv_peak.c: the most blocks that sequences can need together, against a simulation.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "inference/kv/kv_layout.h"
#include "inference/kv/kv_peak.h"

#include <stdlib.h>

static uint32_t blocks_for(uint32_t tokens)
{
    return (tokens + FG_KV_BLOCK_TOKENS - 1) / FG_KV_BLOCK_TOKENS;
}

/* Token by token, giving back at the end of each. */
static uint64_t simulate(const struct fg_kv_demand *demands, uint32_t count, uint64_t shared)
{
    uint64_t peak = shared;
    for (uint32_t step = 0; step <= 200; step++) {
        uint64_t now = shared;
        for (uint32_t i = 0; i < count; i++) {
            if (step > demands[i].remaining)
                continue;
            uint32_t blocks = blocks_for(demands[i].tokens + step);
            uint32_t grown = blocks > demands[i].blocks ? blocks - demands[i].blocks : 0;
            now += demands[i].blocks_own + grown;
        }
        peak = now > peak ? now : peak;
    }
    return peak;
}

static void nothing_needs_nothing(void **state)
{
    (void)state;
    assert_int_equal(fg_kv_peak(NULL, 0, 0), 0);
    assert_int_equal(fg_kv_peak(NULL, 0, 7), 7);
}

static void one_needs_its_whole_length(void **state)
{
    (void)state;
    struct fg_kv_demand one = {.tokens = 20, .remaining = 12, .blocks = 2, .blocks_own = 1};
    assert_int_equal(fg_kv_peak(&one, 1, 1), 2);
    one.remaining = 13;
    assert_int_equal(fg_kv_peak(&one, 1, 1), 3);
    one.remaining = 0;
    assert_int_equal(fg_kv_peak(&one, 1, 1), 2);
}

static void one_that_ends_soon_makes_room(void **state)
{
    (void)state;
    struct fg_kv_demand two[] = {{160, 0, 10, 10}, {16, 160, 1, 1}};
    assert_int_equal(fg_kv_peak(two, 2, 0), 11);
    struct fg_kv_demand together[] = {{160, 160, 10, 10}, {16, 160, 1, 1}};
    assert_int_equal(fg_kv_peak(together, 2, 0), 31);
}

static void equals_the_simulation(void **state)
{
    (void)state;
    uint32_t seed = 42;
    for (int round = 0; round < 500; round++) {
        struct fg_kv_demand demands[8];
        uint32_t count = 1 + (uint32_t)round % 8;
        for (uint32_t i = 0; i < count; i++) {
            seed = seed * 1664525u + 1013904223u;
            demands[i].tokens = 1 + (seed >> 8) % 300;
            demands[i].remaining = (seed >> 20) % 200;
            demands[i].blocks = blocks_for(demands[i].tokens) + (seed >> 4) % 2;
            demands[i].blocks_own = demands[i].blocks - (seed >> 16) % demands[i].blocks;
        }
        uint64_t want = simulate(demands, count, seed % 9);
        assert_int_equal(fg_kv_peak(demands, count, seed % 9), want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_needs_nothing),
        cmocka_unit_test(one_needs_its_whole_length),
        cmocka_unit_test(one_that_ends_soon_makes_room),
        cmocka_unit_test(equals_the_simulation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
