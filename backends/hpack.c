/*
 * hpack.c: a ring of the newest entries and two tables of guesses where an entry may lie.
 *
 *    first --> oldest ... newest <-- next        index on the wire: 62 is the newest
 *
 * A client drops its oldest entries when their bytes are too many. So do we, and sooner where the
 * ring is full: what is still here is certain to be there.
 *
 * Guesses are sets of four: with one a hash, two fields of every answer that happen to meet there
 * are both remembered anew in each answer, and push out all the others.
 */
#include "backends/hpack.h"

#include "base/byte_vector.h"
#include "base/field_id.h"
#include "base/field_text.h"
#include "base/prefetch.h"
#include "base/words.h"

#include <assert.h>
#include <string.h>

#define ENTRY_OVERHEAD 32u /* RFC 7541 section 4.1 */
#define STATIC_ENTRIES 61u
#define INT_BYTES_MAX ((size_t)4) /* of a number below 2 MiB, whatever its prefix */
#define STATUS_BYTES_MAX ((size_t)5)
#define PLACES FG_HPACK_ENTRIES_MAX
#define WAYS 4u
#define SETS (PLACES / WAYS)
#define VECTOR sizeof(fg_byte_vector)

struct fg_hpack_entry {
    uint16_t name_len;
    uint16_t value_len;
    bool is_once; /* here for its name: it is said with another value each time */
    char text[];  /* name, value */
};

/* Entry number n lies in ring[n % PLACES]. */
struct fg_hpack_table {
    uint8_t by_field[SETS][WAYS]; /* places in the ring by hash, newest first; guesses, checked */
    uint8_t by_name[SETS][WAYS];  /* of names that the static table does not have */
    uint32_t field_tag[PLACES];   /* of what is in the ring: who differs here need not be read */
    uint16_t name_tag[PLACES];
    struct fg_hpack_entry *ring[PLACES];
};

/* What the first byte of a field says (section 6). */
enum form {
    FORM_INDEXED = 0x80,
    FORM_REMEMBERED = 0x40, /* literal with incremental indexing */
    FORM_RESIZED = 0x20,
    FORM_NEVER = 0x10, /* literal never indexed */
    FORM_ONCE = 0x00,  /* literal without indexing */
};

_Static_assert((PLACES & (PLACES - 1)) == 0 && PLACES <= 256, "places are picked by a mask");
_Static_assert(FG_HPACK_TABLE_MAX <= UINT16_MAX, "lengths have sixteen bits");
_Static_assert(sizeof(struct fg_hpack_table) <= 1024, "a block has a power of two");

/* ---- both ends of a text: what differs at all, mostly differs there ---- */

/* Less than eight bytes, all of them. */
static inline uint64_t load_few(const char *from, size_t len)
{
    if (len >= 4)
        return fg_load_4(from) | fg_load_4(from + len - 4) << 32;
    if (len == 0)
        return 0;
    const unsigned char *bytes = (const unsigned char *)from;
    return bytes[0] | (uint64_t)bytes[len / 2] << 8 | (uint64_t)bytes[len - 1] << 16;
}

static inline uint64_t ends_of(struct fg_span text)
{
    if (text.len < 8)
        return load_few(text.data, text.len) + text.len;
    uint64_t tail = fg_load_8(text.data + text.len - 8);
    return fg_load_8(text.data) ^ (tail << 29 | tail >> 35) ^ text.len;
}

static inline uint64_t hash_name(struct fg_span name)
{
    uint64_t hash = ends_of(name) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

static inline uint64_t hash_field(uint64_t name_hash, struct fg_span value)
{
    uint64_t hash = (name_hash + ends_of(value)) * 0xbf58476d1ce4e5b9u;
    return hash ^ hash >> 32;
}

/* As memcmp, without the call: names and values are short. */
static inline bool is_same(const char *a, const char *b, size_t len)
{
    if (len < 8)
        return load_few(a, len) == load_few(b, len);
    if (len < VECTOR)
        return fg_load_8(a) == fg_load_8(b) && fg_load_8(a + len - 8) == fg_load_8(b + len - 8);
    for (size_t i = 0; i + VECTOR < len; i += VECTOR) {
        if (!fg_byte_vector_equal(a + i, b + i))
            return false;
    }
    return fg_byte_vector_equal(a + len - VECTOR, b + len - VECTOR);
}

/* ---- the table ---- */

void fg_hpack_init(struct fg_hpack *hpack, struct fg_block_pool *blocks)
{
    *hpack = (struct fg_hpack){
        .blocks = blocks, .max = FG_HPACK_TABLE_MAX, .lowest = FG_HPACK_TABLE_MAX + 1};
}

static struct fg_hpack_entry **place_of(struct fg_hpack *hpack, uint32_t number)
{
    return &hpack->table->ring[number % PLACES];
}

static uint32_t bytes_of(const struct fg_hpack_entry *entry)
{
    return ENTRY_OVERHEAD + entry->name_len + entry->value_len;
}

static void drop_oldest(struct fg_hpack *hpack)
{
    struct fg_hpack_entry **place = place_of(hpack, hpack->first++);
    hpack->bytes -= bytes_of(*place);
    fg_block_pool_free(hpack->blocks, *place);
    *place = NULL;
}

static void shrink_to(struct fg_hpack *hpack, uint32_t bytes)
{
    while (hpack->bytes > bytes)
        drop_oldest(hpack);
}

void fg_hpack_fini(struct fg_hpack *hpack)
{
    shrink_to(hpack, 0);
    assert(hpack->first == hpack->next);
    fg_block_pool_free(hpack->blocks, hpack->table);
    hpack->table = NULL;
}

void fg_hpack_resize(struct fg_hpack *hpack, uint32_t table_bytes)
{
    uint32_t max = table_bytes < FG_HPACK_TABLE_MAX ? table_bytes : FG_HPACK_TABLE_MAX;
    if (max == hpack->max)
        return;
    hpack->max = max;
    if (max < hpack->lowest)
        hpack->lowest = max;
    shrink_to(hpack, max);
}

static bool has_name(const struct fg_hpack_entry *entry, struct fg_span name)
{
    return entry->name_len == name.len && is_same(entry->text, name.data, name.len);
}

static uint32_t field_tag(uint64_t hash)
{
    return (uint32_t)(hash >> 32);
}

static uint16_t name_tag(uint64_t name_hash)
{
    return (uint16_t)(name_hash >> 48);
}

static uint32_t index_of(const struct fg_hpack *hpack, uint32_t place)
{
    return STATIC_ENTRIES + 1 + (hpack->next - 1 - place) % PLACES;
}

/* The index of an entry that has this name, and this value, and its place; 0: none is known. */
static uint32_t find_field(const struct fg_hpack *hpack, const struct fg_field *field,
                           uint64_t hash, uint8_t *place)
{
    const struct fg_hpack_table *table = hpack->table;
    if (table == NULL)
        return 0;
    const uint8_t *guesses = table->by_field[hash % SETS];
    for (unsigned i = 0; i < WAYS; i++) {
        uint8_t at = guesses[i];
        const struct fg_hpack_entry *entry = table->ring[at];
        if (table->field_tag[at] == field_tag(hash) && entry != NULL &&
            has_name(entry, field->name) && entry->value_len == field->value.len &&
            is_same(entry->text + entry->name_len, field->value.data, field->value.len)) {
            *place = at;
            return index_of(hpack, at);
        }
    }
    return 0;
}

static uint32_t find_name(const struct fg_hpack *hpack, struct fg_span name, uint64_t hash,
                          uint8_t *place)
{
    const struct fg_hpack_table *table = hpack->table;
    if (table == NULL)
        return 0;
    const uint8_t *guesses = table->by_name[hash % SETS];
    for (unsigned i = 0; i < WAYS; i++) {
        uint8_t at = guesses[i];
        const struct fg_hpack_entry *entry = table->ring[at];
        if (table->name_tag[at] == name_tag(hash) && entry != NULL && has_name(entry, name)) {
            *place = at;
            return index_of(hpack, at);
        }
    }
    return 0;
}

static void add_guess(uint8_t guesses[WAYS], uint8_t place)
{
    memmove(guesses + 1, guesses, WAYS - 1);
    guesses[0] = place;
}

/*
 * As the client does when it reads the field: even one that is too large for the table empties it.
 * Here such a one is never said in that form.
 */
static bool remember(struct fg_hpack *hpack, const struct fg_field *field, uint64_t name_hash,
                     uint64_t hash, bool is_name_known)
{
    size_t name_len = field->name.len, value_len = field->value.len;
    if (name_len + value_len + ENTRY_OVERHEAD > hpack->max)
        return false;
    if (hpack->table == NULL)
        hpack->table = fg_block_pool_calloc(hpack->blocks, 1, sizeof(*hpack->table));
    if (hpack->table == NULL)
        return false;
    struct fg_hpack_entry *entry =
        fg_block_pool_alloc(hpack->blocks, sizeof(*entry) + name_len + value_len);
    if (entry == NULL)
        return false;
    *entry =
        (struct fg_hpack_entry){.name_len = (uint16_t)name_len, .value_len = (uint16_t)value_len};
    memcpy(entry->text, field->name.data, name_len);
    if (value_len > 0)
        memcpy(entry->text + name_len, field->value.data, value_len);
    shrink_to(hpack, hpack->max - bytes_of(entry));
    if (hpack->next - hpack->first == PLACES)
        drop_oldest(hpack);
    struct fg_hpack_table *table = hpack->table;
    uint8_t at = (uint8_t)(hpack->next % PLACES);
    table->ring[at] = entry;
    table->field_tag[at] = field_tag(hash);
    table->name_tag[at] = name_tag(name_hash);
    add_guess(table->by_field[hash % SETS], at);
    if (!is_name_known)
        add_guess(table->by_name[name_hash % SETS], at);
    hpack->next++;
    hpack->bytes += bytes_of(entry);
    return true;
}

/* ---- what the static table has (RFC 7541 appendix A), as far as we write it ---- */

struct known {
    const char *name;
    uint8_t index;
    bool is_once; /* another value in nearly each message: remembered, it would push others out */
};

/* By length; the names of one length end with NULL. */
static const struct known *known_of_length(size_t len)
{
    static const struct known none[] = {{NULL, 0, false}};
    static const struct known of_3[] = {{"age", 21, true}, {"via", 60, false}, {NULL, 0, false}};
    static const struct known of_4[] = {{"host", 38, false}, {"date", 33, false},
                                        {"etag", 34, true},  {"vary", 59, false},
                                        {"link", 45, false}, {NULL, 0, false}};
    static const struct known of_5[] = {
        {":path", 4, true}, {"range", 50, true}, {"allow", 22, false}, {NULL, 0, false}};
    static const struct known of_6[] = {
        {"accept", 19, false}, {"cookie", 32, false}, {"server", 54, false}, {NULL, 0, false}};
    static const struct known of_7[] = {{":method", 2, false},
                                        {":scheme", 6, false},
                                        {"referer", 51, true},
                                        {"expires", 36, false},
                                        {NULL, 0, false}};
    static const struct known of_8[] = {
        {"if-range", 42, true}, {"location", 46, true}, {NULL, 0, false}};
    static const struct known of_10[] = {{":authority", 1, false},
                                         {"user-agent", 58, false},
                                         {"set-cookie", 55, true},
                                         {NULL, 0, false}};
    static const struct known of_11[] = {{"retry-after", 53, true}, {NULL, 0, false}};
    static const struct known of_12[] = {{"content-type", 31, false}, {NULL, 0, false}};
    static const struct known of_13[] = {{"authorization", 23, false},
                                         {"if-none-match", 41, true},
                                         {"cache-control", 24, false},
                                         {"accept-ranges", 18, false},
                                         {"last-modified", 44, false},
                                         {"content-range", 30, true},
                                         {NULL, 0, false}};
    static const struct known of_14[] = {
        {"accept-charset", 15, false}, {"content-length", 28, true}, {NULL, 0, false}};
    static const struct known of_16[] = {{"content-encoding", 26, false},
                                         {"content-language", 27, false},
                                         {"content-location", 29, false},
                                         {"www-authenticate", 61, false},
                                         {NULL, 0, false}};
    static const struct known of_19[] = {
        {"if-unmodified-since", 43, true}, {"content-disposition", 25, false}, {NULL, 0, false}};
    static const struct known of_25[] = {{"strict-transport-security", 56, false},
                                         {NULL, 0, false}};
    static const struct known of_27[] = {{"access-control-allow-origin", 20, false},
                                         {NULL, 0, false}};
    static const struct known of_15[] = {
        {"accept-encoding", 16, false}, {"accept-language", 17, false}, {NULL, 0, false}};
    static const struct known of_17[] = {{"if-modified-since", 40, true}, {NULL, 0, false}};
    static const struct known *const all[] = {
        [3] = of_3,   [4] = of_4,   [5] = of_5,   [6] = of_6,   [7] = of_7,   [8] = of_8,
        [10] = of_10, [11] = of_11, [12] = of_12, [13] = of_13, [14] = of_14, [15] = of_15,
        [16] = of_16, [17] = of_17, [19] = of_19, [25] = of_25, [27] = of_27};
    return len < sizeof(all) / sizeof(all[0]) && all[len] != NULL ? all[len] : none;
}

/* Index 0: it has none of that name. */
static const struct known *find_static_name(struct fg_span name)
{
    const struct known *known = known_of_length(name.len);
    while (known->name != NULL && !is_same(known->name, name.data, name.len))
        known++;
    return known;
}

/* Whose values are one client's, where many share the connection to a server. */
static bool is_secret(uint32_t static_index)
{
    return static_index == 23 /* authorization */ || static_index == 32 /* cookie */;
}

/* The same of names that the static table does not have. */
static bool is_said_once(struct fg_span name)
{
    switch (fg_field_identify(name)) {
    case FG_FIELD_REQUEST_ID:
    case FG_FIELD_TRACEPARENT:
    case FG_FIELD_SERVER_TIMING:
        return true;
    default:
        break;
    }
    static const struct fg_span others[] = {
        FG_SPAN_LITERAL("ratelimit"),       FG_SPAN_LITERAL("x-request-timeout-ms"),
        FG_SPAN_LITERAL("grpc-timeout"),    FG_SPAN_LITERAL("x-forwarded-for"),
        FG_SPAN_LITERAL("idempotency-key"), FG_SPAN_LITERAL("forwarded"),
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (fg_span_equal(name, others[i]))
            return true;
    }
    return false;
}

/* ---- writing ---- */

static uint8_t *put_int(uint8_t *to, enum form form, unsigned prefix_bits, size_t value)
{
    const size_t most = ((size_t)1 << prefix_bits) - 1;
    if (value < most) {
        *to++ = (uint8_t)((size_t)form | value);
        return to;
    }
    *to++ = (uint8_t)((size_t)form | most);
    for (value -= most; value >= 0x80; value >>= 7)
        *to++ = (uint8_t)(0x80 | (value & 0x7f));
    *to++ = (uint8_t)value;
    return to;
}

static uint8_t *put_string(uint8_t *to, struct fg_span text)
{
    to = put_int(to, 0, 7, text.len);
    if (text.len > 0)
        memcpy(to, text.data, text.len);
    return to + text.len;
}

static uint8_t *put_literal(uint8_t *to, enum form form, uint32_t name_index,
                            const struct fg_field *field)
{
    to = put_int(to, form, form == FORM_REMEMBERED ? 6 : 4, name_index);
    if (name_index == 0)
        to = put_string(to, field->name);
    return put_string(to, field->value);
}

/*
 * Heads of one connection are alike: what stood here in the latest one is mostly what stands here
 * again, or has its name. True: written, at `*to`.
 */
static bool put_as_before(const struct fg_hpack *hpack, uint8_t **to, const struct fg_field *field,
                          uint8_t place)
{
    const struct fg_hpack_entry *entry = hpack->table != NULL ? hpack->table->ring[place] : NULL;
    if (entry == NULL || !has_name(entry, field->name))
        return false;
    if (entry->value_len == field->value.len &&
        is_same(entry->text + entry->name_len, field->value.data, field->value.len))
        *to = put_int(*to, FORM_INDEXED, 7, index_of(hpack, place));
    else if (!entry->is_once)
        return false;
    else if (fg_field_value_is_valid(field->value))
        *to = put_literal(*to, FORM_ONCE, index_of(hpack, place), field);
    return true;
}

/*
 * What is in the table was looked at when it was put there. The index of a name is looked up before
 * its field is remembered: that moves all of them. `*guess` is for the next head.
 */
static uint8_t *put_field(struct fg_hpack *hpack, uint8_t *to, const struct fg_field *field,
                          uint8_t *guess)
{
    if (put_as_before(hpack, &to, field, *guess))
        return to;
    const struct known *known = find_static_name(field->name);
    if (known->is_once)
        return fg_field_value_is_valid(field->value)
                   ? put_literal(to, FORM_ONCE, known->index, field)
                   : to;
    uint64_t name_hash = hash_name(field->name);
    uint64_t hash = hash_field(name_hash, field->value);
    uint32_t index = find_field(hpack, field, hash, guess);
    if (index != 0)
        return put_int(to, FORM_INDEXED, 7, index);
    if (!fg_field_value_is_valid(field->value))
        return to;
    if (is_secret(known->index))
        return put_literal(to, FORM_NEVER, known->index, field);
    bool is_static = known->index != 0;
    bool is_once = !is_static && is_said_once(field->name);
    uint32_t name_index =
        is_static ? known->index : find_name(hpack, field->name, name_hash, guess);
    if (is_once && name_index != 0)
        return put_literal(to, FORM_ONCE, name_index, field);
    /* One that is said once is remembered for its name, which is then said no more. */
    if (!remember(hpack, field, name_hash, hash, is_static))
        return put_literal(to, FORM_ONCE, name_index, field);
    *guess = (uint8_t)((hpack->next - 1) % PLACES);
    hpack->table->ring[*guess]->is_once = is_once;
    return put_literal(to, FORM_REMEMBERED, name_index, field);
}

/* No table may ever hold it; its name may be that of one that is there. */
static uint8_t *put_marked(struct fg_hpack *hpack, uint8_t *to, const struct fg_field *field)
{
    uint32_t name_index = find_static_name(field->name)->index;
    uint8_t place;
    if (!fg_field_value_is_valid(field->value))
        return to;
    if (name_index == 0)
        name_index = find_name(hpack, field->name, hash_name(field->name), &place);
    return put_literal(to, FORM_NEVER, name_index, field);
}

static uint8_t *put_status(uint8_t *to, unsigned status)
{
    static const struct {
        uint16_t status;
        uint8_t index;
    } known[] = {{200, 8}, {204, 9}, {206, 10}, {304, 11}, {400, 12}, {404, 13}, {500, 14}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (known[i].status == status)
            return put_int(to, FORM_INDEXED, 7, known[i].index);
    }
    const uint8_t literal[STATUS_BYTES_MAX] = {FORM_ONCE | 8, 3, (uint8_t)('0' + status / 100),
                                               (uint8_t)('0' + status / 10 % 10),
                                               (uint8_t)('0' + status % 10)};
    memcpy(to, literal, sizeof(literal));
    return to + sizeof(literal);
}

/* Section 4.2: the least that it was since the last block, and what it is. */
static uint8_t *put_sizes(struct fg_hpack *hpack, uint8_t *to)
{
    if (hpack->lowest > FG_HPACK_TABLE_MAX)
        return to;
    if (hpack->lowest < hpack->max)
        to = put_int(to, FORM_RESIZED, 5, hpack->lowest);
    to = put_int(to, FORM_RESIZED, 5, hpack->max);
    hpack->lowest = FG_HPACK_TABLE_MAX + 1;
    return to;
}

size_t fg_hpack_bound(size_t count, size_t text_bytes)
{
    return 2 * INT_BYTES_MAX + STATUS_BYTES_MAX + count * 3 * INT_BYTES_MAX + text_bytes;
}

void fg_hpack_prefetch(const struct fg_hpack *hpack)
{
    if (hpack->table == NULL)
        return;
    for (size_t i = 0; i < FG_HPACK_LATEST; i++)
        fg_prefetch(hpack->table->ring[hpack->latest[i]], 1);
}

size_t fg_hpack_write(struct fg_hpack *hpack, unsigned status, const struct fg_field *fields,
                      size_t count, const struct fg_never_indexed *never, uint8_t *to)
{
    assert(status == 0 || (status >= 100 && status <= 999));
    uint8_t *at = put_sizes(hpack, to);
    if (status != 0)
        at = put_status(at, status);
    for (size_t i = 0; i < count; i++) {
        uint8_t *guess = &hpack->latest[i % FG_HPACK_LATEST];
        at = fg_never_indexed_has(never, fields[i].name) ? put_marked(hpack, at, &fields[i])
                                                         : put_field(hpack, at, &fields[i], guess);
    }
    return (size_t)(at - to);
}
