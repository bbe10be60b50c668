/*
 * crowd.c: how many of a few thousand things each owner has, in a fixed and small place.
 * Source   the count-min sketch of G. Cormode, S. Muthukrishnan, "An Improved Data Stream Summary"
 *          (J. Algorithms 55, 2005), with deletions. Four rows of 512: whoever is not of a crowd
 *          shares all places with one that is in two of 10,000 cases beside 64 crowds, in 2.4 of
 *          100 beside 256, in 16 beside 512.
 */
#include "policies/crowd.h"

#include <assert.h>
#include <stddef.h>

/* The rows take bits of the hash that have nothing to do with each other. */
static size_t column_of(uint64_t owner, size_t row)
{
    return (size_t)(owner >> (row * 16)) % FG_CROWD_COLUMNS;
}

void fg_crowd_add(struct fg_crowd *crowd, uint64_t owner)
{
    for (size_t row = 0; owner != 0 && row < FG_CROWD_ROWS; row++)
        crowd->counts[row][column_of(owner, row)]++;
}

void fg_crowd_remove(struct fg_crowd *crowd, uint64_t owner)
{
    for (size_t row = 0; owner != 0 && row < FG_CROWD_ROWS; row++) {
        uint32_t *count = &crowd->counts[row][column_of(owner, row)];
        assert(*count > 0);
        --*count;
    }
}

void fg_crowd_fade(struct fg_crowd *crowd)
{
    for (size_t row = 0; row < FG_CROWD_ROWS; row++) {
        for (size_t column = 0; column < FG_CROWD_COLUMNS; column++) {
            uint32_t *count = &crowd->counts[row][column];
            *count -= *count / FG_CROWD_FADE_INVERSE + (*count % FG_CROWD_FADE_INVERSE != 0);
        }
    }
}

uint32_t fg_crowd_count(const struct fg_crowd *crowd, uint64_t owner)
{
    uint32_t least = UINT32_MAX;
    for (size_t row = 0; row < FG_CROWD_ROWS; row++) {
        uint32_t count = crowd->counts[row][column_of(owner, row)];
        least = count < least ? count : least;
    }
    return owner == 0 ? 0 : least;
}
