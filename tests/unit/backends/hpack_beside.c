/*
 * hpack_beside.c: see hpack_beside.h. Whatever differs is a crash, so that a fuzzer finds it.
 */
#include "hpack_beside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect(bool is_so, const char *what)
{
    if (is_so)
        return;
    fprintf(stderr, "hpack_beside: %s\n", what);
    abort();
}

void beside_open(struct beside *beside)
{
    *beside = (struct beside){.room_bytes = BESIDE_ROOM};
    fg_block_pool_init(&beside->blocks, 1 << 20);
    fg_hpack_reader_init(&beside->reader, &beside->blocks);
    expect(nghttp2_hd_inflate_new(&beside->other) == 0, "no memory");
}

void beside_close(struct beside *beside)
{
    nghttp2_hd_inflate_del(beside->other);
    fg_hpack_reader_fini(&beside->reader);
    fg_block_pool_fini(&beside->blocks);
}

static bool is_same(struct fg_span text, const uint8_t *data, size_t len)
{
    return text.len == len && (len == 0 || memcmp(text.data, data, len) == 0);
}

static void note_bytes(struct beside *beside, struct fg_span text)
{
    for (size_t i = 0; i < text.len; i++)
        beside->has_seen[(unsigned char)text.data[i]] = true;
}

/* The next field of the other reader. */
static enum fg_hpack_found read_other(struct beside *beside, const uint8_t **at, const uint8_t *end,
                                      nghttp2_nv *nv)
{
    for (;;) {
        int flags = 0;
        ssize_t used =
            nghttp2_hd_inflate_hd2(beside->other, nv, &flags, *at, (size_t)(end - *at), 1);
        if (used < 0)
            return FG_HPACK_MALFORMED;
        *at += used;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0)
            return FG_HPACK_FIELD;
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0)
            return FG_HPACK_END;
    }
}

/* A byte is noted with each field of the table, by its text: so it must be found again with it. */
static void check_note(const struct fg_hpack_item *item)
{
    if (item->note == NULL)
        return;
    size_t sum = item->name.len + 3 * item->value.len;
    for (size_t i = 0; i < item->value.len; i++)
        sum += (unsigned char)item->value.data[i];
    uint8_t note = (uint8_t)(1 + sum % 255);
    expect(*item->note == 0 || *item->note == note, "a note is another field's");
    *item->note = note;
}

static void check_tables(struct beside *beside)
{
    struct fg_hpack_reader *reader = &beside->reader;
    expect(nghttp2_hd_inflate_get_dynamic_table_size(beside->other) == reader->bytes,
           "the tables have other sizes");
    expect(nghttp2_hd_inflate_get_max_dynamic_table_size(beside->other) == reader->max,
           "the tables have other limits");
}

bool beside_read(struct beside *beside, const uint8_t *block, size_t len)
{
    char *room = malloc(beside->room_bytes + 1); /* so that a byte too much is seen */
    expect(room != NULL && beside->room_bytes <= BESIDE_ROOM, "no room");
    const uint8_t *at = block;
    const uint8_t *end = block + len;
    struct fg_hpack_item item;
    enum fg_hpack_found found;
    fg_hpack_reader_begin(&beside->reader, block, len, room, beside->room_bytes);
    do {
        nghttp2_nv nv;
        found = fg_hpack_reader_next(&beside->reader, &item);
        expect(found != FG_HPACK_NO_MEMORY, "no memory");
        expect(found == read_other(beside, &at, end, &nv), "they find other things");
        if (found != FG_HPACK_FIELD)
            break;
        expect(is_same(item.name, nv.name, nv.namelen), "names differ");
        expect(is_same(item.value, nv.value, nv.valuelen), "values differ");
        expect(item.is_never == ((nv.flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0), "marks differ");
        check_note(&item);
        note_bytes(beside, item.name);
        note_bytes(beside, item.value);
        beside->fields++;
    } while (true);
    free(room);
    if (found == FG_HPACK_MALFORMED)
        return false;
    nghttp2_hd_inflate_end_headers(beside->other);
    check_tables(beside);
    return true;
}
