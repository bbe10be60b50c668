/*
 * panel_ahead.h: what is asked of memory before it is multiplied; see panel.h.
 * Job      weights are read once a step and from memory: a step is as fast as they come. Where
 *          VEC_READS_IN_ORDER they are asked for in the order in which they lie, so that the
 *          processor's own prefetching joins in; a line of each row in turn, which is the order
 *          of use, came at two thirds of the speed for rows shorter than a page.
 * Thread   any.
 * Never    reads: what is prefetched may lie anywhere.
 */
#ifndef FG_INFERENCE_PANEL_AHEAD_H
#define FG_INFERENCE_PANEL_AHEAD_H

#include "inference/kernels/panel/panel.h"

/* Bytes behind the next group that are asked for while one is streamed. */
#define STREAM_AHEAD (VEC_READS_IN_ORDER ? 8192u : 0u)

/*
 * What is read from memory while a panel is multiplied: the rows of the next one, a few lines with
 * each block, in the order in which they lie.
 */
struct panel_ahead {
    uintptr_t at;    /* the next line */
    uintptr_t end;   /* of the part of this row, or of all rows where they lie behind one another */
    size_t part;     /* bytes of such a part */
    size_t skip;     /* from its end to the next one */
    uintptr_t limit; /* behind all parts */
    size_t share;    /* bytes with each block; 0 when there is nothing to read */
};

/* Ask for what will be read `ahead` from here: the lines that start in these bytes of each row. */
FG_INLINE void rows_prefetch(const struct panel_rows *rows, size_t from, size_t bytes)
{
    for (size_t line = (from + 63) & ~(size_t)63; line < from + bytes; line += 64) {
        for (size_t r = 0; r < VEC_LANES; r++)
            _mm_prefetch((const char *)((uintptr_t)rows->at + r * rows->stride + line +
                                        (uintptr_t)rows->ahead),
                         _MM_HINT_T0);
    }
}

/*
 * The same for a block of rows that lie behind one another: as many lines, in the order of memory,
 * which reads them faster than a line of each row in turn.
 */
FG_INLINE void stream_prefetch(const struct panel_rows *rows, size_t from, size_t bytes)
{
    uintptr_t ahead = (uintptr_t)rows->at + (uintptr_t)rows->ahead;
    size_t end = (from + bytes) * VEC_LANES;
    for (size_t line = (from * VEC_LANES + 63) & ~(size_t)63; line < end; line += 64)
        _mm_prefetch((const char *)(ahead + line), _MM_HINT_T0);
}

/* Asks for the share of one block. */
FG_INLINE void ahead_read(struct panel_ahead *ahead)
{
    if (!VEC_READS_IN_ORDER || ahead->share == 0)
        return;
    for (uintptr_t stop = ahead->at + ahead->share; ahead->at < stop; ahead->at += 64)
        _mm_prefetch((const char *)ahead->at, _MM_HINT_T0);
    if (ahead->at >= ahead->end) {
        ahead->at = ahead->end + ahead->skip;
        ahead->end = ahead->at + ahead->part;
        if (ahead->at >= ahead->limit)
            ahead->share = 0;
    }
}

#endif
