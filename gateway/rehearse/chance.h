/*
 * chance.h: seeded random draws for arrivals, pauses and service times; the same on every machine
 * with the same libm. Not for secrets.
 * Thread   one owner a stream; draws of one stream do not move another.
 * Source   splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
 */
#ifndef FG_REHEARSE_CHANCE_H
#define FG_REHEARSE_CHANCE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

struct fg_chance {
    uint64_t state;
};

static inline uint64_t fg_chance_bits(struct fg_chance *chance)
{
    uint64_t z = (chance->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A stream of its own for each (seed, number). */
static inline struct fg_chance fg_chance_stream(uint64_t seed, uint64_t number)
{
    struct fg_chance mixer = {seed ^ (number * UINT64_C(0xd1342543de82ef95))};
    return (struct fg_chance){fg_chance_bits(&mixer)};
}

/* A drawn time in whole ns, at most some thirty years: tails can be longer than 64 bits. */
static inline uint64_t fg_chance_as_ns(double ns)
{
    if (!(ns > 0))
        return 0;
    return ns < 1e18 ? (uint64_t)ns : UINT64_C(1000000000000000000);
}

/* Above 0, up to 1. */
static inline double fg_chance_unit(struct fg_chance *chance)
{
    return ((double)(fg_chance_bits(chance) >> 11) + 1) * 0x1p-53;
}

static inline bool fg_chance_permille(struct fg_chance *chance, uint32_t permille)
{
    return permille >= 1000 || fg_chance_bits(chance) % 1000 < permille;
}

static inline double fg_chance_exponential(struct fg_chance *chance, double mean)
{
    return -log(fg_chance_unit(chance)) * mean;
}

/* Mean `mean`, and `sigma` of its logarithm. */
static inline double fg_chance_lognormal(struct fg_chance *chance, double mean, double sigma)
{
    double radius = sqrt(-2 * log(fg_chance_unit(chance)));
    double normal = radius * cos(2 * 3.14159265358979323846 * fg_chance_unit(chance));
    return mean * exp(sigma * normal - sigma * sigma / 2);
}

#endif
