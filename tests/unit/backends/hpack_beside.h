/*
 * hpack_beside.h: header blocks through our reader and nghttp2's at once, for the unit test and for
 * fuzzing: they say the same of every block, field by field, and keep the same table.
 */
#ifndef FG_TESTS_HPACK_BESIDE_H
#define FG_TESTS_HPACK_BESIDE_H

#include "backends/hpack_reader.h"

#include <nghttp2/nghttp2.h>

struct beside {
    struct fg_block_pool blocks;
    struct fg_hpack_reader reader;
    nghttp2_hd_inflater *other;
    size_t room_bytes; /* that the reader is given; at most BESIDE_ROOM */

    /* what was read */
    size_t fields;
    bool has_seen[256]; /* such a byte, in any text */
};

#define BESIDE_ROOM ((size_t)256)

void beside_open(struct beside *beside);
void beside_close(struct beside *beside);
/* Both read the block. False: both say that it is malformed, and can read no more. */
bool beside_read(struct beside *beside, const uint8_t *block, size_t len);

#endif
