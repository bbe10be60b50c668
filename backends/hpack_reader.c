/*
 * hpack_reader.c: entries in the order in which they came, their texts one behind the other.
 *
 *    store = [ head | entries, a ring | texts: gone ... first ........... next | free ]
 *
 * Texts are never cut: where the end of the store is too near, those that are still remembered
 * slide to its beginning. As an entry of the table counts for 32 bytes more than its text (RFC 7541
 * section 4.1) and takes 8, the largest store holds whatever the table may.
 *
 * Blocks are read whole: so a field that is cut off is an error, and there is no state between two
 * pieces.
 */
#include "backends/hpack_reader.h"

#include "backends/huffman.h"

#include <assert.h>
#include <string.h>

#define ENTRY_OVERHEAD 32u
#define SMALLEST_BYTES ((size_t)512)
#define SMALLEST_ENTRIES 16u
#define MOST_ENTRIES (FG_HPACK_READ_TABLE_MAX / ENTRY_OVERHEAD)
#define LARGEST_BYTES ((size_t)6144)

struct entry {
    uint16_t at; /* in texts */
    uint16_t name_len;
    uint16_t value_len;
    uint8_t note;
};

/* Entry number n is entries[n % entry_room]. */
struct fg_hpack_store {
    uint32_t first; /* the oldest */
    uint32_t next;
    uint16_t entry_room; /* a power of two */
    uint16_t text_room;
    uint16_t text_end;
    struct entry entries[];
};

_Static_assert((MOST_ENTRIES & (MOST_ENTRIES - 1)) == 0, "entries are picked by a mask");
_Static_assert(sizeof(struct fg_hpack_store) + MOST_ENTRIES * sizeof(struct entry) +
                       FG_HPACK_READ_TABLE_MAX <=
                   LARGEST_BYTES,
               "the largest store holds any table");

#define ENTRY(name, value)                                                                         \
    {                                                                                              \
        FG_SPAN_LITERAL(name), FG_SPAN_LITERAL(value)                                              \
    }

/* RFC 7541 appendix A. */
static const struct fg_field static_table[FG_HPACK_STATIC_ENTRIES + 1] = {
    [1] = ENTRY(":authority", ""),
    [2] = ENTRY(":method", "GET"),
    [3] = ENTRY(":method", "POST"),
    [4] = ENTRY(":path", "/"),
    [5] = ENTRY(":path", "/index.html"),
    [6] = ENTRY(":scheme", "http"),
    [7] = ENTRY(":scheme", "https"),
    [8] = ENTRY(":status", "200"),
    [9] = ENTRY(":status", "204"),
    [10] = ENTRY(":status", "206"),
    [11] = ENTRY(":status", "304"),
    [12] = ENTRY(":status", "400"),
    [13] = ENTRY(":status", "404"),
    [14] = ENTRY(":status", "500"),
    [15] = ENTRY("accept-charset", ""),
    [16] = ENTRY("accept-encoding", "gzip, deflate"),
    [17] = ENTRY("accept-language", ""),
    [18] = ENTRY("accept-ranges", ""),
    [19] = ENTRY("accept", ""),
    [20] = ENTRY("access-control-allow-origin", ""),
    [21] = ENTRY("age", ""),
    [22] = ENTRY("allow", ""),
    [23] = ENTRY("authorization", ""),
    [24] = ENTRY("cache-control", ""),
    [25] = ENTRY("content-disposition", ""),
    [26] = ENTRY("content-encoding", ""),
    [27] = ENTRY("content-language", ""),
    [28] = ENTRY("content-length", ""),
    [29] = ENTRY("content-location", ""),
    [30] = ENTRY("content-range", ""),
    [31] = ENTRY("content-type", ""),
    [32] = ENTRY("cookie", ""),
    [33] = ENTRY("date", ""),
    [34] = ENTRY("etag", ""),
    [35] = ENTRY("expect", ""),
    [36] = ENTRY("expires", ""),
    [37] = ENTRY("from", ""),
    [38] = ENTRY("host", ""),
    [39] = ENTRY("if-match", ""),
    [40] = ENTRY("if-modified-since", ""),
    [41] = ENTRY("if-none-match", ""),
    [42] = ENTRY("if-range", ""),
    [43] = ENTRY("if-unmodified-since", ""),
    [44] = ENTRY("last-modified", ""),
    [45] = ENTRY("link", ""),
    [46] = ENTRY("location", ""),
    [47] = ENTRY("max-forwards", ""),
    [48] = ENTRY("proxy-authenticate", ""),
    [49] = ENTRY("proxy-authorization", ""),
    [50] = ENTRY("range", ""),
    [51] = ENTRY("referer", ""),
    [52] = ENTRY("refresh", ""),
    [53] = ENTRY("retry-after", ""),
    [54] = ENTRY("server", ""),
    [55] = ENTRY("set-cookie", ""),
    [56] = ENTRY("strict-transport-security", ""),
    [57] = ENTRY("transfer-encoding", ""),
    [58] = ENTRY("user-agent", ""),
    [59] = ENTRY("vary", ""),
    [60] = ENTRY("via", ""),
    [61] = ENTRY("www-authenticate", ""),
};

/* ---- the dynamic table ---- */

void fg_hpack_reader_init(struct fg_hpack_reader *reader, struct fg_block_pool *blocks)
{
    *reader = (struct fg_hpack_reader){.blocks = blocks, .max = FG_HPACK_READ_TABLE_MAX};
}

static void free_room(struct fg_hpack_reader *reader)
{
    if (reader->own_room == NULL)
        return;
    fg_block_pool_free(reader->blocks, reader->own_room);
    reader->own_room = NULL;
    reader->own_room_bytes = 0;
}

void fg_hpack_reader_fini(struct fg_hpack_reader *reader)
{
    free_room(reader);
    fg_block_pool_free(reader->blocks, reader->store);
    reader->store = NULL;
}

static struct entry *entry_at(struct fg_hpack_store *store, uint32_t number)
{
    return &store->entries[number & (store->entry_room - 1u)];
}

static char *texts_of(struct fg_hpack_store *store)
{
    return (char *)(store->entries + store->entry_room);
}

static size_t text_bytes_of(const struct entry *entry)
{
    return (size_t)entry->name_len + entry->value_len;
}

static uint32_t count_entries(const struct fg_hpack_reader *reader)
{
    return reader->store == NULL ? 0 : reader->store->next - reader->store->first;
}

static void shrink_to(struct fg_hpack_reader *reader, uint32_t bytes)
{
    while (reader->bytes > bytes) {
        struct fg_hpack_store *store = reader->store;
        reader->bytes -= ENTRY_OVERHEAD + (uint32_t)text_bytes_of(entry_at(store, store->first++));
    }
}

/* The other side has made its table smaller, or as large as it was. */
static void resize(struct fg_hpack_reader *reader, uint32_t max)
{
    reader->max = max;
    shrink_to(reader, max);
    if (max == 0) {
        fg_block_pool_free(reader->blocks, reader->store);
        reader->store = NULL;
    }
}

/* What is remembered, and nothing else, to the front of the texts of `to`, which may be itself. */
static void move_texts(struct fg_hpack_store *to, struct fg_hpack_store *from)
{
    uint16_t begin = from->first == from->next ? from->text_end : entry_at(from, from->first)->at;
    uint16_t len = (uint16_t)(from->text_end - begin);
    for (uint32_t n = from->first; n != from->next; n++) {
        struct entry entry = *entry_at(from, n);
        entry.at = (uint16_t)(entry.at - begin);
        *entry_at(to, n) = entry;
    }
    memmove(texts_of(to), texts_of(from) + begin, len);
    to->text_end = len;
}

/* A store twice as large, or the largest, with what the present one remembers. */
static bool grow(struct fg_hpack_reader *reader)
{
    struct fg_hpack_store *old = reader->store;
    unsigned entries = old == NULL ? SMALLEST_ENTRIES : 2u * old->entry_room;
    size_t bytes = SMALLEST_BYTES * entries / SMALLEST_ENTRIES;
    if (entries == MOST_ENTRIES)
        bytes = LARGEST_BYTES;
    assert(entries <= MOST_ENTRIES);
    struct fg_hpack_store *store = fg_block_pool_alloc(reader->blocks, bytes);
    if (store == NULL)
        return false;
    *store = (struct fg_hpack_store){
        .entry_room = (uint16_t)entries,
        .text_room = (uint16_t)(bytes - sizeof(*store) - entries * sizeof(struct entry))};
    if (old != NULL) {
        store->first = old->first;
        store->next = old->next;
        move_texts(store, old);
        fg_block_pool_free(reader->blocks, old);
    }
    reader->store = store;
    return true;
}

/* Sees to it that there is room for one more; a quarter of it stays free where it can grow, so that
 * texts do not slide for each. */
static bool make_room(struct fg_hpack_reader *reader, size_t text_bytes)
{
    for (;;) {
        struct fg_hpack_store *store = reader->store;
        uint32_t count = count_entries(reader);
        if (store != NULL && count < store->entry_room) {
            if ((size_t)(store->text_room - store->text_end) >= text_bytes)
                return true;
            size_t kept = reader->bytes - count * ENTRY_OVERHEAD;
            size_t most = store->text_room;
            if (store->entry_room < MOST_ENTRIES)
                most -= most / 4;
            if (kept + text_bytes <= most) {
                move_texts(store, store);
                return true;
            }
        }
        if (!grow(reader))
            return false;
    }
}

/* ---- texts ---- */

/* Room for so many bytes while the block is read; what was there before is gone. */
static char *take_room(struct fg_hpack_reader *reader, size_t bytes)
{
    if (bytes <= reader->room_bytes)
        return reader->room;
    if (bytes <= reader->own_room_bytes)
        return reader->own_room;
    free_room(reader);
    reader->own_room = fg_block_pool_alloc(reader->blocks, bytes);
    if (reader->own_room != NULL)
        reader->own_room_bytes = bytes;
    return reader->own_room;
}

/* What is behind a prefix that is full. */
static bool read_long_int(struct fg_hpack_reader *reader, uint64_t value, uint32_t max,
                          uint32_t *number)
{
    unsigned shift = 0;
    uint8_t byte;
    do {
        if (reader->at == reader->end || shift > 28)
            return false;
        byte = *reader->at++;
        value += (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while ((byte & 0x80) != 0);
    *number = (uint32_t)value;
    return value <= max;
}

/* A number with a prefix of so many bits (section 5.1), at most `max`. */
static inline bool read_int(struct fg_hpack_reader *reader, unsigned prefix_bits, uint32_t max,
                            uint32_t *number)
{
    const uint32_t most = (1u << prefix_bits) - 1;
    uint32_t value = *reader->at++ & most;
    if (value == most)
        return read_long_int(reader, value, max, number);
    *number = value;
    return true; /* no limit is below what a prefix may say */
}

/* A string as it comes. */
struct raw {
    const uint8_t *data;
    uint32_t len;
    bool is_huffman;
};

static bool read_raw(struct fg_hpack_reader *reader, struct raw *raw)
{
    if (reader->at == reader->end)
        return false;
    raw->is_huffman = (*reader->at & 0x80) != 0;
    if (!read_int(reader, 7, FG_HPACK_READ_TEXT_MAX, &raw->len) ||
        raw->len > (size_t)(reader->end - reader->at))
        return false;
    raw->data = reader->at;
    reader->at += raw->len;
    return true;
}

static size_t bound_of(const struct raw *raw)
{
    return raw->is_huffman ? fg_huffman_bound(raw->len) : 0;
}

/* The string's text: where it came in, or read to `*room`, which moves behind it. */
static bool read_text(const struct raw *raw, char **room, struct fg_span *text)
{
    *text = fg_span_make((const char *)raw->data, raw->len);
    if (!raw->is_huffman || raw->len == 0) /* there may be no room for nothing */
        return true;
    size_t len;
    if (!fg_huffman_read(raw->data, raw->len, *room, &len))
        return false;
    *text = fg_span_make(*room, len);
    *room += len;
    return true;
}

/* ---- fields ---- */

/* False: there is no such entry. */
static inline bool take_indexed(struct fg_hpack_reader *reader, uint32_t index,
                                struct fg_hpack_item *item)
{
    if (index - 1 < FG_HPACK_STATIC_ENTRIES) {
        item->name = static_table[index].name;
        item->value = static_table[index].value;
        item->static_index = (uint8_t)index;
        return true;
    }
    if (index == 0 || index - FG_HPACK_STATIC_ENTRIES > count_entries(reader))
        return false;
    struct fg_hpack_store *store = reader->store;
    struct entry *entry = entry_at(store, store->next - (index - FG_HPACK_STATIC_ENTRIES));
    const char *text = texts_of(store) + entry->at;
    item->name = fg_span_make(text, entry->name_len);
    item->value = fg_span_make(text + entry->name_len, entry->value_len);
    item->note = &entry->note;
    return true;
}

/*
 * One that is too large for the table empties it (section 4.4). What the item shows is still where
 * it was then, for nothing has been written. False: no memory.
 */
static bool remember(struct fg_hpack_reader *reader, struct fg_hpack_item *item)
{
    size_t text_bytes = item->name.len + item->value.len;
    size_t bytes = text_bytes + ENTRY_OVERHEAD;
    if (bytes > reader->max) {
        shrink_to(reader, 0);
        return true;
    }
    shrink_to(reader, reader->max - (uint32_t)bytes);
    if (!make_room(reader, text_bytes))
        return false;
    struct fg_hpack_store *store = reader->store;
    struct entry *entry = entry_at(store, store->next++);
    *entry = (struct entry){.at = store->text_end,
                            .name_len = (uint16_t)item->name.len,
                            .value_len = (uint16_t)item->value.len};
    char *text = texts_of(store) + store->text_end;
    if (item->name.len > 0)
        memcpy(text, item->name.data, item->name.len);
    if (item->value.len > 0)
        memcpy(text + item->name.len, item->value.data, item->value.len);
    store->text_end = (uint16_t)(store->text_end + text_bytes);
    reader->bytes += (uint32_t)bytes;
    item->note = &entry->note;
    return true;
}

/*
 * A literal, behind its first byte's index. A name from the table is copied first where the field
 * is to be remembered: making room for it moves texts.
 */
static enum fg_hpack_found read_literal(struct fg_hpack_reader *reader, uint32_t name_index,
                                        bool is_remembered, struct fg_hpack_item *item)
{
    struct raw name = {NULL, 0, false}, value;
    struct fg_hpack_item lender = {.note = NULL};
    if (name_index == 0 ? !read_raw(reader, &name) : !take_indexed(reader, name_index, &lender))
        return FG_HPACK_MALFORMED;
    if (!read_raw(reader, &value))
        return FG_HPACK_MALFORMED;
    bool is_lent = is_remembered && lender.note != NULL;
    size_t room_bytes = bound_of(&name) + bound_of(&value) + (is_lent ? lender.name.len : 0);
    char *room = room_bytes == 0 ? NULL : take_room(reader, room_bytes);
    if (room_bytes > 0 && room == NULL)
        return FG_HPACK_NO_MEMORY;
    item->name = lender.name;
    item->static_name = lender.static_index;
    item->name_note = lender.note == NULL ? 0 : *lender.note;
    if (is_lent && lender.name.len > 0) {
        memcpy(room, lender.name.data, lender.name.len);
        item->name.data = room;
        room += lender.name.len;
    }
    if ((name_index == 0 && !read_text(&name, &room, &item->name)) ||
        !read_text(&value, &room, &item->value))
        return FG_HPACK_MALFORMED;
    return !is_remembered || remember(reader, item) ? FG_HPACK_FIELD : FG_HPACK_NO_MEMORY;
}

void fg_hpack_reader_begin(struct fg_hpack_reader *reader, const uint8_t *block, size_t len,
                           char *room, size_t room_bytes)
{
    reader->at = block;
    reader->end = block + len;
    reader->has_fields = false;
    reader->room = room;
    reader->room_bytes = room_bytes;
}

/* Changes of the table's size, which may stand before the first field alone (section 4.2). */
static enum fg_hpack_found read_sizes(struct fg_hpack_reader *reader, struct fg_hpack_item *item)
{
    uint32_t max;
    while (reader->at < reader->end && (*reader->at & 0xe0) == 0x20) {
        if (reader->has_fields || !read_int(reader, 5, FG_HPACK_READ_TABLE_MAX, &max))
            return FG_HPACK_MALFORMED;
        resize(reader, max);
    }
    return fg_hpack_reader_next(reader, item);
}

/* One that is not said by a byte. */
static enum fg_hpack_found read_field(struct fg_hpack_reader *reader, struct fg_hpack_item *item)
{
    uint32_t index;
    uint8_t form = *reader->at;
    reader->has_fields = true;
    if ((form & 0x80) != 0)
        return read_int(reader, 7, UINT32_MAX, &index) && take_indexed(reader, index, item)
                   ? FG_HPACK_FIELD
                   : FG_HPACK_MALFORMED;
    bool is_remembered = (form & 0x40) != 0;
    item->is_never = (form & 0xf0) == 0x10;
    if (!read_int(reader, is_remembered ? 6 : 4, UINT32_MAX, &index))
        return FG_HPACK_MALFORMED;
    return read_literal(reader, index, is_remembered, item);
}

enum fg_hpack_found fg_hpack_reader_next(struct fg_hpack_reader *reader, struct fg_hpack_item *item)
{
    if (reader->at == reader->end) {
        free_room(reader);
        return FG_HPACK_END;
    }
    *item = (struct fg_hpack_item){.note = NULL};
    uint8_t form = *reader->at;
    if (form > 0x80 && form < 0xff) { /* as most are */
        reader->has_fields = true;
        reader->at++;
        return take_indexed(reader, form & 0x7f, item) ? FG_HPACK_FIELD : FG_HPACK_MALFORMED;
    }
    return (form & 0xe0) == 0x20 ? read_sizes(reader, item) : read_field(reader, item);
}
