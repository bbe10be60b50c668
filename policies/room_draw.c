/*
 * room_draw.c: draws the order of those who came in one window of time.
 * Job      a shuffle that needs no memory: whose place is it, and which place is mine, are both
 *          answered from the seed.
 * Thread   one owner at a time.
 * Source   a Feistel network over the next even number of bits, walked until it falls into the
 *          range (J. Black, P. Rogaway, Ciphers with Arbitrary Finite Domains, 2002, section 4);
 *          the range has at least a quarter of the domain, so four steps on average at most. The
 *          round is splitmix64's mix: a fair draw, no secrecy beyond that of the seed.
 */
#include "policies/room_draw.h"

#include <assert.h>
#include <stddef.h>

#define ROUNDS 6u

static uint64_t mix(uint64_t seed, uint64_t round, uint64_t half)
{
    uint64_t z = (seed + round * UINT64_C(0x9e3779b97f4a7c15)) ^ half;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Bits of one half, so that both halves hold [0, count). */
static unsigned half_bits(uint64_t count)
{
    unsigned bits = 1;
    while (bits < 32 && (count - 1) >> (2 * bits) != 0)
        bits++;
    return bits;
}

static uint64_t encrypt(uint64_t seed, unsigned bits, uint64_t value)
{
    uint64_t mask = (UINT64_C(1) << bits) - 1;
    uint64_t left = value >> bits, right = value & mask;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t next = left ^ (mix(seed, round, right) & mask);
        left = right;
        right = next;
    }
    return left << bits | right;
}

static uint64_t decrypt(uint64_t seed, unsigned bits, uint64_t value)
{
    uint64_t mask = (UINT64_C(1) << bits) - 1;
    uint64_t left = value >> bits, right = value & mask;
    for (uint64_t round = ROUNDS; round > 0; round--) {
        uint64_t before = right ^ (mix(seed, round - 1, left) & mask);
        right = left;
        left = before;
    }
    return left << bits | right;
}

uint64_t fg_room_draw(uint64_t seed, uint64_t count, uint64_t place)
{
    assert(place < count);
    unsigned bits = half_bits(count);
    uint64_t value = place;
    do
        value = encrypt(seed, bits, value);
    while (value >= count);
    return value;
}

uint64_t fg_room_draw_back(uint64_t seed, uint64_t count, uint64_t drawn)
{
    assert(drawn < count);
    unsigned bits = half_bits(count);
    uint64_t value = drawn;
    do
        value = decrypt(seed, bits, value);
    while (value >= count);
    return value;
}

/* ---- windows ---- */

static const struct fg_room_window *at(const struct fg_room_windows *windows, uint32_t index)
{
    return &windows->closed[(windows->oldest + index) % FG_ROOM_WINDOWS];
}

void fg_room_windows_reset(struct fg_room_windows *windows, uint64_t tail, uint64_t now_ns)
{
    windows->open_first = tail;
    windows->open_since_ns = now_ns;
    windows->oldest = 0;
    windows->closed_count = 0;
}

bool fg_room_windows_close(struct fg_room_windows *windows, uint64_t tail, uint64_t seed,
                           uint64_t now_ns)
{
    assert(tail >= windows->open_first);
    if (tail == windows->open_first || windows->closed_count == FG_ROOM_WINDOWS)
        return false;
    uint32_t index = (windows->oldest + windows->closed_count) % FG_ROOM_WINDOWS;
    windows->closed[index] = (struct fg_room_window){
        .first = windows->open_first,
        .count = tail - windows->open_first,
        .seed = mix(seed, 0, windows->open_first),
    };
    windows->closed_count++;
    windows->open_first = tail;
    windows->open_since_ns = now_ns;
    return true;
}

const struct fg_room_window *fg_room_windows_front(const struct fg_room_windows *windows,
                                                   uint64_t head)
{
    if (windows->closed_count == 0)
        return NULL;
    const struct fg_room_window *front = at(windows, 0);
    return head >= front->first && head - front->first < front->count ? front : NULL;
}

void fg_room_windows_pop(struct fg_room_windows *windows)
{
    assert(windows->closed_count > 0);
    windows->oldest = (windows->oldest + 1) % FG_ROOM_WINDOWS;
    windows->closed_count--;
}

const struct fg_room_window *fg_room_windows_find(const struct fg_room_windows *windows,
                                                  uint64_t number)
{
    for (uint32_t i = 0; i < windows->closed_count; i++) {
        const struct fg_room_window *window = at(windows, i);
        if (number >= window->first && number - window->first < window->count)
            return window;
    }
    return NULL;
}

uint64_t fg_room_windows_first(const struct fg_room_windows *windows, uint64_t otherwise)
{
    return windows->closed_count == 0 ? otherwise : at(windows, 0)->first;
}

bool fg_room_windows_are_consistent(const struct fg_room_windows *windows, uint64_t tail)
{
    if (windows->closed_count > FG_ROOM_WINDOWS || windows->oldest >= FG_ROOM_WINDOWS ||
        windows->open_first > tail)
        return false;
    uint64_t end = 0;
    for (uint32_t i = 0; i < windows->closed_count; i++) {
        const struct fg_room_window *window = at(windows, i);
        if (window->first < end || window->count == 0 || window->first > tail ||
            window->count > tail - window->first)
            return false;
        end = window->first + window->count;
    }
    return true;
}

void fg_room_windows_repair(struct fg_room_windows *windows, uint64_t head)
{
    while (windows->closed_count > 0 && head >= at(windows, 0)->first + at(windows, 0)->count)
        fg_room_windows_pop(windows);
    uint64_t end = head;
    if (windows->closed_count > 0)
        end = at(windows, windows->closed_count - 1)->first +
              at(windows, windows->closed_count - 1)->count;
    if (windows->open_first < end)
        windows->open_first = end;
}
