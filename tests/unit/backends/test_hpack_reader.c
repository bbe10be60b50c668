/*
 * test_hpack_reader.c: the examples of RFC 7541 appendix C; blocks by nghttp2's encoder and blocks
 * of chance, read by nghttp2's decoder beside ours; notes; and each allocation failing in turn.
 */
#include "hpack_beside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))
#define BLOCK_MAX 8192

/* ---- memory that ends ---- */

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);

static unsigned mallocs_left = UINT32_MAX;

void *__wrap_malloc(size_t bytes)
{
    if (mallocs_left == 0)
        return NULL;
    if (mallocs_left != UINT32_MAX)
        mallocs_left--;
    return __real_malloc(bytes);
}

/* ---- helpers ---- */

static uint64_t seed;

static uint32_t chance(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static size_t from_hex(const char *hex, uint8_t *to)
{
    size_t len = 0;
    for (; *hex != '\0'; hex += 2) {
        while (*hex == ' ')
            hex++;
        char byte[3] = {hex[0], hex[1], '\0'};
        to[len++] = (uint8_t)strtoul(byte, NULL, 16);
    }
    return len;
}

/* "name: value\n" for each field, and what the table holds at the end. */
static void expect_text(struct beside *beside, const char *hex, const char *text, uint32_t bytes)
{
    uint8_t block[256];
    char room[64], got[512];
    struct fg_hpack_item item;
    enum fg_hpack_found found;
    size_t len = 0;
    size_t block_len = from_hex(hex, block);
    fg_hpack_reader_begin(&beside->reader, block, block_len, room, sizeof(room));
    while ((found = fg_hpack_reader_next(&beside->reader, &item)) == FG_HPACK_FIELD)
        len += (size_t)snprintf(got + len, sizeof(got) - len, "%.*s: %.*s\n",
                                FG_SPAN_ARGS(item.name), FG_SPAN_ARGS(item.value));
    got[len] = '\0';
    assert_int_equal(found, FG_HPACK_END);
    assert_string_equal(got, text);
    assert_int_equal(beside->reader.bytes, bytes);
}

struct example {
    const char *hex;
    const char *text;
    uint32_t bytes;
};

static void read_examples(const struct example *rows, size_t count)
{
    struct beside beside;
    beside_open(&beside);
    for (size_t i = 0; i < count; i++)
        expect_text(&beside, rows[i].hex, rows[i].text, rows[i].bytes);
    beside_close(&beside);
}

/* ---- RFC 7541 appendix C ---- */

static void reads_single_fields(void **state)
{
    (void)state;
    static const struct example rows[] = {
        {"400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key: custom-header\n", 55},
        {"040c2f73616d706c652f70617468", ":path: /sample/path\n", 55},
        {"100870617373776f726406736563726574", "password: secret\n", 55},
        {"82", ":method: GET\n", 55},
    };
    read_examples(rows, ROWS(rows));
}

static void reads_requests(void **state)
{
    (void)state;
    static const struct example plain[] = {
        {"828684410f7777772e6578616d706c652e636f6d",
         ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n", 57},
        {"828684be58086e6f2d6361636865",
         ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n"
         "cache-control: no-cache\n",
         110},
        {"828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
         ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n"
         "custom-key: custom-value\n",
         164},
    };
    read_examples(plain, ROWS(plain));
    static const char *const coded[] = {
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    };
    struct example rows[ROWS(coded)];
    for (size_t i = 0; i < ROWS(coded); i++)
        rows[i] = (struct example){coded[i], plain[i].text, plain[i].bytes};
    read_examples(rows, ROWS(rows));
}

/* With a table of 256 bytes, from which the oldest are dropped. */
static void reads_answers(void **state)
{
    (void)state;
#define DATE_21 "date: Mon, 21 Oct 2013 20:13:21 GMT\n"
#define PLACE "location: https://www.example.com\n"
    static const struct example rows[] = {
        {"3fe101 4882 6402 5885 aec3771a4b 6196 d07abe941054d444a8200595040b8166e082a62d1bff"
         "6e91 9d29ad171863c78f0b97c8e9ae82ae43d3",
         ":status: 302\ncache-control: private\n" DATE_21 PLACE, 222},
        {"4883 640eff c1c0bf", ":status: 307\ncache-control: private\n" DATE_21 PLACE, 222},
        {"88c1 6196 d07abe941054d444a8200595040b8166e084a62d1bff c0 5a83 9bd9ab 77ad"
         "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d50"
         "07",
         ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n" PLACE
         "content-encoding: gzip\n"
         "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n",
         215},
    };
    read_examples(rows, ROWS(rows));
}

/* ---- what is malformed ---- */

static void refuses_what_is_malformed(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "80",                 /* index 0 */
        "be",                 /* an entry that is not there */
        "ff8080808000",       /* one beyond all */
        "ffffffffff0f",       /* a number that has no end */
        "ff808080808001",     /* zeros behind the number */
        "ff",                 /* cut */
        "40",                 /* no name */
        "4001",               /* none of the name */
        "400161",             /* no value */
        "40016102",           /* cut */
        "4001610262",         /* cut */
        "7e00",               /* a name of nowhere */
        "823fe11f",           /* a size behind a field */
        "3fe21f",             /* of 4097 */
        "0081ff00",           /* the end of a text in seven ones and more: eight */
        "0081fe00",           /* in zeros */
        "0084ffffffff00",     /* the code for the end */
        "008161",             /* no value behind a coded name */
        "007fe2fe0300",       /* a name of 65537 bytes */
        "3f",                 /* a size that is cut */
        "3fe101be",           /* a field that was never there, after a size */
        "400161016220be",     /* a size behind a field again */
        "40016101623f00bebe", /* and not forgotten before that */
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct beside beside;
        uint8_t block[32];
        size_t len = from_hex(rows[i], block);
        beside_open(&beside);
        if (beside_read(&beside, block, len))
            fail_msg("row %zu was read", i);
        beside_close(&beside);
    }
}

static void takes_a_size_before_the_first_field_alone(void **state)
{
    (void)state;
    struct beside beside;
    beside_open(&beside);
    /* a field; none; the whole table again, and the field is gone; sizes alone */
    assert_true(beside_read(&beside, (const uint8_t *)"\x40\x01\x61\x01\x62", 5));
    assert_true(beside_read(&beside, (const uint8_t *)"\xbe", 1));
    assert_non_null(beside.reader.store);
    assert_true(beside_read(&beside, (const uint8_t *)"\x20\x3f\xe1\x1f\x82", 5));
    assert_null(beside.reader.store);
    assert_int_equal(beside.reader.max, FG_HPACK_READ_TABLE_MAX);
    assert_true(beside_read(&beside, (const uint8_t *)"\x20\x21\x22", 3));
    assert_int_equal(beside.reader.max, 2);
    /* what is too large for a table is read, and empties it */
    assert_true(beside_read(&beside, (const uint8_t *)"\x40\x01\x61\x01\x62", 5));
    assert_int_equal(beside.reader.bytes, 0);
    assert_false(beside_read(&beside, (const uint8_t *)"\xbe", 1));
    beside_close(&beside);
}

/* ---- beside nghttp2 ---- */

/* A text of a few, so that the table is used, with all kinds of bytes in some. */
static size_t make_text(uint8_t *to, size_t len_max, bool is_name)
{
    static const char letters[] = "abcdefgh-0123/";
    size_t len = chance(8) == 0 ? chance((uint32_t)len_max) : chance(6);
    bool is_wild = !is_name && chance(4) == 0;
    for (size_t i = 0; i < len; i++)
        to[i] = is_wild ? (uint8_t)chance(256) : (uint8_t)letters[chance(sizeof(letters) - 1)];
    return len;
}

static void reads_what_nghttp2_writes(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        struct beside beside;
        nghttp2_hd_deflater *deflater;
        static uint8_t names[12][400], values[12][400];
        seed = round;
        beside_open(&beside);
        beside.room_bytes = chance(BESIDE_ROOM);
        assert_int_equal(nghttp2_hd_deflate_new(&deflater, FG_HPACK_READ_TABLE_MAX), 0);
        for (unsigned n = 0; n < 200; n++) {
            nghttp2_nv fields[12];
            uint8_t block[BLOCK_MAX * 2];
            size_t count = 1 + chance(ROWS(fields));
            for (size_t i = 0; i < count; i++) {
                size_t name_len = make_text(names[i], round % 4 == 0 ? 4 : 300, true);
                size_t value_len = make_text(values[i], round % 4 == 0 ? 4 : 400, false);
                fields[i] =
                    (nghttp2_nv){names[i], values[i], name_len, value_len,
                                 chance(16) == 0 ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
            }
            if (chance(20) == 0)
                nghttp2_hd_deflate_change_table_size(deflater, chance(2) * chance(5000));
            ssize_t len = nghttp2_hd_deflate_hd(deflater, block, sizeof(block), fields, count);
            assert_true(len > 0);
            assert_true(beside_read(&beside, block, (size_t)len));
        }
        assert_true(beside.fields >= 200);
        nghttp2_hd_deflate_del(deflater);
        beside_close(&beside);
    }
}

/* Any Huffman text, each as a block of its own: all characters come up, and all ends. */
static void reads_any_huffman_text(void **state)
{
    (void)state;
    struct beside beside;
    bool has_seen[256] = {false};
    unsigned fine = 0;
    seed = 1;
    for (unsigned n = 0; n < 60000; n++) {
        uint8_t block[32] = {0x00, 0x00};
        size_t len = 1 + chance(12);
        block[2] = (uint8_t)(0x80 | len);
        unsigned ones = chance(5);
        for (size_t i = 0; i < len; i++)
            block[3 + i] = i < ones ? 0xff : (uint8_t)chance(256);
        if (ones < len && chance(2) == 0) /* the longer codes begin so */
            block[3 + ones] = chance(2) == 0 ? 0xfe : (uint8_t)(0x80 | chance(128));
        block[2 + len] |= (uint8_t)((1u << chance(9)) - 1);
        beside_open(&beside);
        fine += beside_read(&beside, block, 3 + len);
        for (size_t i = 0; i < sizeof(has_seen); i++)
            has_seen[i] |= beside.has_seen[i];
        beside_close(&beside);
    }
    assert_in_range(fine, 1000, 59000);
    for (size_t i = 0; i < sizeof(has_seen); i++) {
        if (!has_seen[i])
            fail_msg("no text had %zu", i);
    }
}

/* Coded, and of no bytes: there is no room for it, and none is needed. */
static void reads_an_empty_huffman_text(void **state)
{
    (void)state;
    static const uint8_t block[] = {0x00, 0x80, 0x80, 0x04, 0x80, 0x40, 0x80, 0x80, 0x7e, 0x80};
    struct beside beside;
    beside_open(&beside);
    beside.room_bytes = 0;
    assert_true(beside_read(&beside, block, sizeof(block)));
    assert_int_equal(beside.fields, 4);
    beside_close(&beside);
}

/* Blocks of chance on one table, until they find one malformed. */
static void agrees_on_blocks_of_chance(void **state)
{
    (void)state;
    unsigned refused = 0;
    size_t fields = 0;
    for (unsigned round = 0; round < 4000; round++) {
        struct beside beside;
        seed = round;
        beside_open(&beside);
        for (unsigned n = 0; n < 50; n++) {
            uint8_t block[64];
            size_t len = chance(sizeof(block));
            for (size_t i = 0; i < len; i++) {
                static const uint8_t likely[] = {0x40, 0x00, 0x10, 0x01, 0x02, 0x82,
                                                 0xbe, 0xbf, 0x41, 0x81, 0x1f, 0x44};
                block[i] = chance(3) != 0 ? likely[chance(sizeof(likely))] : (uint8_t)chance(256);
            }
            if (!beside_read(&beside, block, len)) {
                refused++;
                break;
            }
        }
        fields += beside.fields;
        beside_close(&beside);
    }
    assert_in_range(refused, 100, 4000);
    assert_true(fields > 500);
}

/* ---- the store ---- */

/* The smallest entries and the largest: it grows to its last size, and holds the whole table. */
static void the_store_grows_with_the_table(void **state)
{
    (void)state;
    struct beside beside;
    beside_open(&beside);
    for (unsigned n = 0; n < 300; n++)
        assert_true(beside_read(&beside, (const uint8_t *)"\x40\x00\x00", 3));
    assert_int_equal(beside.reader.bytes, FG_HPACK_READ_TABLE_MAX);
    static uint8_t block[8 + FG_HPACK_READ_TABLE_MAX] = {0x40, 0x00, 0x7f};
    for (size_t len = 4096 - 32 + 2; len > 4000; len--) {
        block[3] = (uint8_t)(0x80 | ((len - 127) & 0x7f));
        block[4] = (uint8_t)((len - 127) >> 7);
        memset(block + 5, 'a' + (int)(len % 26), len);
        assert_true(beside_read(&beside, block, 5 + len));
        assert_int_equal(beside.reader.bytes, len > 4096 - 32 ? 0 : len + 32);
    }
    beside_close(&beside);
}

/* A name whose entry is dropped, or moved, by the very field that has it (section 4.4). */
static void a_name_outlives_its_entry(void **state)
{
    (void)state;
    struct beside beside;
    beside_open(&beside);
    assert_true(beside_read(&beside,
                            (const uint8_t *)"\x3f\x45\x40\x04name\x20"
                                             "01234567890123456789012345678901",
                            41));
    for (unsigned n = 0; n < 40; n++)
        assert_true(beside_read(&beside,
                                (const uint8_t *)"\x7e\x21"
                                                 "012345678901234567890123456789012",
                                35));
    assert_int_equal(beside.reader.bytes, 69);
    beside_close(&beside);
}

/* ---- memory ---- */

/* Each allocation fails in turn: the reader says so, and lets go of all that it has. */
static void says_when_there_is_no_memory(void **state)
{
    (void)state;
    static const char long_text[] = "\x40\x01\x61\x7f\x21"
                                    "0123456789012345678901234567890123456789"
                                    "0123456789012345678901234567890123456789"
                                    "0123456789012345678901234567890123456789"
                                    "0123456789012345678901234567890123456789";
    uint8_t coded[256] = {0x00, 0x01, 'a', 0xff, 0x49}; /* 200 bytes of "0" and "1" */
    memset(coded + 5, 0x00, 200);
    unsigned failed = 0;
    for (unsigned allowed = 0;; allowed++) {
        struct beside beside;
        beside_open(&beside);
        enum fg_hpack_found found = FG_HPACK_END;
        mallocs_left = allowed;
        for (unsigned n = 0; n < 30 && found == FG_HPACK_END; n++) {
            const uint8_t *block = n % 3 == 2 ? coded : (const uint8_t *)long_text;
            struct fg_hpack_item item;
            char room[16];
            fg_hpack_reader_begin(&beside.reader, block, n % 3 == 2 ? 205 : 165, room,
                                  sizeof(room));
            do {
                found = fg_hpack_reader_next(&beside.reader, &item);
            } while (found == FG_HPACK_FIELD);
        }
        mallocs_left = UINT32_MAX;
        beside_close(&beside);
        if (found == FG_HPACK_END)
            break;
        assert_int_equal(found, FG_HPACK_NO_MEMORY);
        failed++;
    }
    assert_in_range(failed, 4, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_single_fields),
        cmocka_unit_test(reads_requests),
        cmocka_unit_test(reads_answers),
        cmocka_unit_test(refuses_what_is_malformed),
        cmocka_unit_test(takes_a_size_before_the_first_field_alone),
        cmocka_unit_test(reads_what_nghttp2_writes),
        cmocka_unit_test(reads_any_huffman_text),
        cmocka_unit_test(reads_an_empty_huffman_text),
        cmocka_unit_test(agrees_on_blocks_of_chance),
        cmocka_unit_test(the_store_grows_with_the_table),
        cmocka_unit_test(a_name_outlives_its_entry),
        cmocka_unit_test(says_when_there_is_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
