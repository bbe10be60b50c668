/*
 * nearest.c: the restricted edit distance over three rolling rows; quadratic in words of 64 bytes
 * at most.
 */
#include "config/nearest.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t fg_nearest_distance(struct fg_span a, struct fg_span b)
{
    if (a.len > FG_NEAREST_WORD_MAX || b.len > FG_NEAREST_WORD_MAX)
        return SIZE_MAX;
    size_t rows[3][FG_NEAREST_WORD_MAX + 1];
    size_t *before = rows[0];
    size_t *last = rows[1];
    size_t *row = rows[2];
    for (size_t j = 0; j <= b.len; j++) {
        before[j] = 0;
        last[j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            char from = lower(a.data[i - 1]);
            char to = lower(b.data[j - 1]);
            size_t best = last[j - 1] + (from == to ? 0 : 1);
            best = least(best, least(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && from == lower(b.data[j - 2]) && to == lower(a.data[i - 2]))
                best = least(best, before[j - 2] + 1);
            row[j] = best;
        }
        size_t *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[b.len];
}

void fg_nearest_offer(struct fg_nearest *nearest, struct fg_span word, const char *candidate)
{
    struct fg_span other = fg_span_from_string(candidate);
    size_t distance = fg_nearest_distance(word, other);
    size_t longer = word.len > other.len ? word.len : other.len;
    size_t tolerated = (longer + 1) / 3; /* 1 of 3 or 4 letters, 2 of 5 to 7 ... */
    if (distance > tolerated || distance >= longer)
        return;
    if (nearest->word == NULL || distance < nearest->distance) {
        nearest->word = candidate;
        nearest->distance = distance;
    }
}
