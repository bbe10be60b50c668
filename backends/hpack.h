/*
 * hpack.h: the heads that one connection carries away from us, in HPACK.
 * Job      fields into a header block, with the dynamic table that the other side keeps in step.
 * Thread   the loop's.
 * Memory   from the first head on: a block of the loop's, and one for each entry: at most
 *          FG_HPACK_ENTRIES_MAX of them, and FG_HPACK_TABLE_MAX bytes as the RFC counts, less where
 *          the other side has less.
 * Never    reads what the other side sends, and never fails: what cannot be remembered is said in
 *          full.
 * Source   RFC 7541. Strings go out as they are: Huffman's code would make a head some 30 bytes
 *          shorter and cost more than all the rest of it.
 */
#ifndef FG_HPACK_H
#define FG_HPACK_H

#include "backends/backend.h"
#include "base/block_pool.h"

#define FG_HPACK_TABLE_MAX 4096u /* what anybody has before it says otherwise */
#define FG_HPACK_ENTRIES_MAX 64u
#define FG_HPACK_LATEST 16u

struct fg_hpack_table;

/* Entries are numbered as they come. */
struct fg_hpack {
    struct fg_block_pool *blocks;
    uint32_t bytes;  /* of the entries first..next-1 */
    uint32_t max;    /* of bytes, as the other side will have it after the next block */
    uint32_t lowest; /* max has been since the last block; above max: it has not changed */
    uint32_t first;
    uint32_t next;
    struct fg_hpack_table *table;    /* NULL: nothing was ever remembered */
    uint8_t latest[FG_HPACK_LATEST]; /* where fields of the latest head lie, in order: guesses */
};

/* `blocks` outlives it. */
void fg_hpack_init(struct fg_hpack *hpack, struct fg_block_pool *blocks);
void fg_hpack_fini(struct fg_hpack *hpack);

/* The other side's SETTINGS_HEADER_TABLE_SIZE; each value in its turn. */
void fg_hpack_resize(struct fg_hpack *hpack, uint32_t table_bytes);

/*
 * Before the first of some blocks that are made together: entries lie apart, and after a while
 * without a head far away; asked for at once they come in the time of one.
 */
void fg_hpack_prefetch(const struct fg_hpack *hpack);

/*
 * No block of `count` fields whose names and values have so many bytes is longer, whatever the
 * table holds. Below 2 MiB.
 */
size_t fg_hpack_bound(size_t count, size_t text_bytes);

/*
 * The header block of a message, at `to`, where fg_hpack_bound() bytes have room; its length.
 * Blocks must reach the other side in the order in which they are made. Names are in lower case; a
 * field whose value holds a control character is left out. `status` has three digits, or is 0:
 * trailers, or a request, whose pseudo fields come first among the others. What `never` names goes
 * out with the mark that no table may hold it, as do a request's cookies and authorization; NULL:
 * nothing else does.
 */
size_t fg_hpack_write(struct fg_hpack *hpack, unsigned status, const struct fg_field *fields,
                      size_t count, const struct fg_never_indexed *never, uint8_t *to);

#endif
