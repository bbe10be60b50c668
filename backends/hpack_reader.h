/*
 * hpack_reader.h: the heads that one connection brings, from HPACK.
 * Job      header blocks into fields, with the dynamic table that the other side writes by.
 * Thread   the loop's.
 * Memory   from the first field to remember on one block of the loop's for the whole table: half a
 *          KiB, and as it fills up to 6; while a block of fields is read, another one when a field
 *          is larger than the caller's room.
 * Never    looks at what names and values hold, or bounds how many there are: that is the caller's.
 * Source   RFC 7541.
 */
#ifndef FG_HPACK_READER_H
#define FG_HPACK_READER_H

#include "backends/backend.h"
#include "base/block_pool.h"

#define FG_HPACK_READ_TABLE_MAX 4096u /* what we say in SETTINGS: nothing, which means this */
#define FG_HPACK_READ_TEXT_MAX                                                                     \
    65536u /* bytes of a name or a value as they come: more is an error */
#define FG_HPACK_STATIC_ENTRIES 61u

struct fg_hpack_store;

struct fg_hpack_reader {
    struct fg_block_pool *blocks;
    struct fg_hpack_store *store; /* NULL: nothing is remembered */
    uint32_t bytes;               /* of the entries, as the RFC counts */
    uint32_t max;                 /* of bytes, as the other side has it */

    /* the block that is being read */
    const uint8_t *at;
    const uint8_t *end;
    bool has_fields; /* one was read: the table's size may not change any more */
    char *room;      /* for texts that are not in the block or the table as they are */
    size_t room_bytes;
    char *own_room; /* instead of it, of the loop's; NULL: none */
    size_t own_room_bytes;
};

/* A field, until the next one is read. */
struct fg_hpack_item {
    struct fg_span name;
    struct fg_span value;
    bool is_never;        /* no table may hold it */
    uint8_t static_index; /* the field is this one of the static table; 0: it is not */
    uint8_t static_name;  /* the same of its name, when the other side said it so */
    uint8_t name_note;    /* what was noted of the entry that lends its name; 0: nothing */
    uint8_t *note; /* kept with the field in the dynamic table, 0 at first; NULL: not there */
};

enum fg_hpack_found {
    FG_HPACK_FIELD,
    FG_HPACK_END,
    FG_HPACK_MALFORMED, /* the connection cannot go on: the table is out of step */
    FG_HPACK_NO_MEMORY, /* nor here */
};

/* `blocks` outlives it. */
void fg_hpack_reader_init(struct fg_hpack_reader *reader, struct fg_block_pool *blocks);
void fg_hpack_reader_fini(struct fg_hpack_reader *reader);

/*
 * A whole header block is there, and stays until all of it is read: fg_hpack_reader_next until it
 * says that it is at the end, whatever becomes of the fields. `room` is the caller's, for texts.
 */
void fg_hpack_reader_begin(struct fg_hpack_reader *reader, const uint8_t *block, size_t len,
                           char *room, size_t room_bytes);
enum fg_hpack_found fg_hpack_reader_next(struct fg_hpack_reader *reader,
                                         struct fg_hpack_item *item);

#endif
