/*
 * nearest.h: which of the valid words a misspelt one was meant to be.
 * Thread   any; pure functions.
 */
#ifndef FG_CONFIG_NEAREST_H
#define FG_CONFIG_NEAREST_H

#include "base/span.h"

/* Longer words are never near anything, so that the work stays bounded. */
#define FG_NEAREST_WORD_MAX 64

/*
 * Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (Damerau and
 * Levenshtein, no part edited twice), ASCII case ignored. SIZE_MAX when either is too long.
 */
size_t fg_nearest_distance(struct fg_span a, struct fg_span b);

/* The best of a running search. Start zeroed. */
struct fg_nearest {
    const char *word; /* NULL while nothing was near enough */
    size_t distance;
};

/* Offer `candidate` for `word`; it is near when about a third of the letters differ. */
void fg_nearest_offer(struct fg_nearest *nearest, struct fg_span word, const char *candidate);

#endif
