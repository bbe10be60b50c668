/*
 * hpack.h: the heads of answers in HPACK, for one connection.
 * Job      fields into a header block, with the dynamic table that the client keeps in step.
 * Thread   the loop's.
 * Memory   from the first answer on: a block of the loop's, and one for each entry: at most
 *          FG_HPACK_ENTRIES_MAX of them, and
 *          FG_HPACK_TABLE_MAX bytes as the RFC counts, less where the client has less.
 * Never    reads what a client sends, and never fails: what cannot be remembered is said in full.
 * Source   RFC 7541. Strings go out as they are: Huffman's code would make a head some 30 bytes
 *          shorter and cost more than all the rest of it.
 */
#ifndef FG_HTTP_HPACK_H
#define FG_HTTP_HPACK_H

#include "backends/backend.h"
#include "base/block_pool.h"

#define FG_HPACK_TABLE_MAX 4096u /* what a client has before it says otherwise */
#define FG_HPACK_ENTRIES_MAX 64u

struct fg_hpack_table;

/* Entries are numbered as they come. */
struct fg_hpack {
    struct fg_block_pool *blocks;
    uint32_t bytes;  /* of the entries first..next-1 */
    uint32_t max;    /* of bytes, as the client will have it when it has read the next block */
    uint32_t lowest; /* max has been since the last block; above max: it has not changed */
    uint32_t first;
    uint32_t next;
    struct fg_hpack_table *table; /* NULL: nothing was ever remembered */
};

/* `blocks` outlives it. */
void fg_hpack_init(struct fg_hpack *hpack, struct fg_block_pool *blocks);
void fg_hpack_fini(struct fg_hpack *hpack);

/* The client's SETTINGS_HEADER_TABLE_SIZE; each value in its turn. */
void fg_hpack_resize(struct fg_hpack *hpack, uint32_t table_bytes);

/*
 * No block of `count` fields whose names and values have so many bytes is longer, whatever the
 * table holds. Below 2 MiB.
 */
size_t fg_hpack_bound(size_t count, size_t text_bytes);

/*
 * The header block of an answer, at `to`, where fg_hpack_bound() bytes have room; its length.
 * Blocks must reach the client in the order in which they are made. Names are in lower case; a
 * field whose value holds a control character is left out. `status` has three digits, or is 0:
 * trailers. What `never` names goes out with the mark that no table may hold it; NULL: nothing
 * does.
 */
size_t fg_hpack_write(struct fg_hpack *hpack, unsigned status, const struct fg_field *fields,
                      size_t count, const struct fg_never_indexed *never, uint8_t *to);

#endif
