/*
 * test_hpack.c: header blocks, read back by nghttp2's decoder, which is strict about every index.
 */
#include "backends/hpack.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define FIELDS_MAX 24

struct pair {
    struct fg_block_pool blocks;
    struct fg_hpack hpack;
    nghttp2_hd_inflater *client;
};

static int set_up(void **state)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    assert_non_null(pair);
    fg_block_pool_init(&pair->blocks, 1 << 20);
    fg_hpack_init(&pair->hpack, &pair->blocks);
    assert_int_equal(nghttp2_hd_inflate_new(&pair->client), 0);
    *state = pair;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *pair = *state;
    nghttp2_hd_inflate_del(pair->client);
    fg_hpack_fini(&pair->hpack);
    fg_block_pool_fini(&pair->blocks);
    free(pair);
    return 0;
}

static bool is_text(const uint8_t *data, size_t len, struct fg_span text)
{
    return len == text.len && (len == 0 || memcmp(data, text.data, len) == 0);
}

/* The client reads exactly these fields. */
static void read_back_fields(struct pair *pair, const uint8_t *block, size_t len,
                             const struct fg_field *fields, size_t count)
{
    size_t at = 0, seen = 0;
    int flags = 0;
    while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0) {
        nghttp2_nv nv;
        ssize_t used =
            nghttp2_hd_inflate_hd2(pair->client, &nv, &flags, block + at, len - at, true);
        assert_true(used >= 0);
        at += (size_t)used;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0)
            continue;
        assert_true(seen < count);
        assert_true(is_text(nv.name, nv.namelen, fields[seen].name));
        assert_true(is_text(nv.value, nv.valuelen, fields[seen].value));
        seen++;
    }
    assert_int_equal(at, len);
    assert_int_equal(seen, count);
    nghttp2_hd_inflate_end_headers(pair->client);
}

/* The same behind a status. */
static void read_back(struct pair *pair, const uint8_t *block, size_t len, unsigned status,
                      const struct fg_field *fields, size_t count)
{
    struct fg_field all[FIELDS_MAX + 1];
    char digits[4];
    assert_true(count <= FIELDS_MAX);
    snprintf(digits, sizeof(digits), "%u", status);
    all[0] = (struct fg_field){FG_SPAN(":status"), fg_span_make(digits, 3)};
    for (size_t i = 0; i < count; i++)
        all[i + 1] = fields[i];
    read_back_fields(pair, block, len, all, count + 1);
}

/* The length of the block, which was read back. */
static size_t say(struct pair *pair, unsigned status, const struct fg_field *fields, size_t count)
{
    size_t text_bytes = 0;
    for (size_t i = 0; i < count; i++)
        text_bytes += fields[i].name.len + fields[i].value.len;
    size_t room = fg_hpack_bound(count, text_bytes);
    uint8_t *block = malloc(room); /* of just this size, so that writing past it is found */
    assert_non_null(block);
    size_t len = fg_hpack_write(&pair->hpack, status, fields, count, NULL, block);
    assert_true(len <= room);
    read_back(pair, block, len, status, fields, count);
    free(block);
    return len;
}

static void resize(struct pair *pair, uint32_t bytes)
{
    fg_hpack_resize(&pair->hpack, bytes);
    assert_int_equal(nghttp2_hd_inflate_change_table_size(pair->client, bytes), 0);
}

static const struct fg_field usual[] = {
    {FG_SPAN_LITERAL("content-type"), FG_SPAN_LITERAL("application/json")},
    {FG_SPAN_LITERAL("content-length"), FG_SPAN_LITERAL("312")},
    {FG_SPAN_LITERAL("cache-control"), FG_SPAN_LITERAL("no-store")},
    {FG_SPAN_LITERAL("date"), FG_SPAN_LITERAL("Thu, 26 Nov 2026 11:12:52 GMT")},
    {FG_SPAN_LITERAL("cache-status"), FG_SPAN_LITERAL("floodgate; hit")},
    {FG_SPAN_LITERAL("x-request-id"), FG_SPAN_LITERAL("0123456789abcdef0123456789abcdef")},
    {FG_SPAN_LITERAL("x-empty"), FG_SPAN_LITERAL("")},
};
#define USUAL_COUNT (sizeof(usual) / sizeof(usual[0]))

static void says_again_in_a_byte(void **state)
{
    struct pair *pair = *state;
    size_t first = say(pair, 200, usual, USUAL_COUNT);
    assert_true(first > 120);
    /* :status, five fields by their index, and a length of three digits behind its name's. */
    assert_int_equal(say(pair, 200, usual, USUAL_COUNT), 1 + 6 + 6);
    struct fg_field other[USUAL_COUNT];
    memcpy(other, usual, sizeof(usual));
    other[5].value = FG_SPAN("ffffffffffffffff0123456789abcdef");
    /* The id is another one: only its name is known, and it is not remembered. */
    assert_int_equal(say(pair, 200, other, USUAL_COUNT), 1 + 5 + 6 + 2 + 1 + 32);
    assert_int_equal(say(pair, 200, usual, USUAL_COUNT), 1 + 6 + 6);
}

static void says_every_status(void **state)
{
    struct pair *pair = *state;
    for (unsigned status = 100; status <= 599; status++)
        assert_true(say(pair, status, NULL, 0) <= 5);
}

static void keeps_to_a_table_of_nothing(void **state)
{
    struct pair *pair = *state;
    say(pair, 200, usual, USUAL_COUNT);
    resize(pair, 0);
    size_t first = say(pair, 200, usual, USUAL_COUNT);
    size_t second = say(pair, 200, usual, USUAL_COUNT);
    assert_int_equal(second, first - 1); /* the new size is said once */
    assert_int_equal(pair->hpack.bytes, 0);
    resize(pair, 65536);
    say(pair, 200, usual, USUAL_COUNT);
    assert_int_equal(say(pair, 200, usual, USUAL_COUNT), 1 + 6 + 6);
}

/* The client empties its table at the smaller one, whatever came after it (section 4.2). */
static void tells_the_least_size_of_several(void **state)
{
    struct pair *pair = *state;
    say(pair, 200, usual, USUAL_COUNT);
    fg_hpack_resize(&pair->hpack, 60);
    fg_hpack_resize(&pair->hpack, 4096);
    uint8_t block[400];
    size_t len = fg_hpack_write(&pair->hpack, 200, usual, USUAL_COUNT, NULL, block);
    const uint8_t sizes[] = {0x3f, 29, 0x3f, 0xe1, 0x1f};
    assert_memory_equal(block, sizes, sizeof(sizes));
    read_back(pair, block, len, 200, usual, USUAL_COUNT);
    say(pair, 200, usual, USUAL_COUNT);
}

static void does_not_remember_what_does_not_fit(void **state)
{
    struct pair *pair = *state;
    static char large[5000];
    memset(large, 'x', sizeof(large));
    const struct fg_field field = {FG_SPAN("x-large"), fg_span_make(large, sizeof(large))};
    say(pair, 200, usual, USUAL_COUNT);
    uint32_t before = pair->hpack.bytes;
    assert_true(say(pair, 200, &field, 1) > sizeof(large));
    assert_int_equal(pair->hpack.bytes, before);
    assert_int_equal(say(pair, 200, usual, USUAL_COUNT), 1 + 6 + 6);
    const struct fg_field whole = {FG_SPAN("x"), fg_span_make(large, 4096 - 32 - 1)};
    say(pair, 200, &whole, 1);
    assert_int_equal(pair->hpack.bytes, 4096); /* all others had to go */
    assert_int_equal(say(pair, 200, &whole, 1), 2);
}

/* Even where the same field is in the table: its index would be no mark. */
static void marks_what_no_table_may_hold(void **state)
{
    struct pair *pair = *state;
    const struct fg_never_indexed never = {.count = 2,
                                           .names = {FG_SPAN("x-empty"), FG_SPAN("date")}};
    say(pair, 200, usual, USUAL_COUNT);
    uint32_t before = pair->hpack.next;
    uint8_t block[400];
    size_t len = fg_hpack_write(&pair->hpack, 200, &usual[6], 1, &never, block);
    const uint8_t expected[] = {0x88, 0x1f, 0x2f, 0x00}; /* the name's index is 62 */
    assert_memory_equal(block, expected, sizeof(expected));
    read_back(pair, block, len, 200, &usual[6], 1);
    len = fg_hpack_write(&pair->hpack, 200, &usual[3], 1, &never, block);
    assert_int_equal(block[1], 0x1f);
    read_back(pair, block, len, 200, &usual[3], 1);
    assert_int_equal(pair->hpack.next, before);
}

/* Said or marked, and whatever is in the table: the field is left out. */
static void leaves_out_what_no_value_may_hold(void **state)
{
    struct pair *pair = *state;
    const struct fg_never_indexed never = {.count = 1, .names = {FG_SPAN("x-b")}};
    static const char *const bad[] = {"a\nb: c", "\r", "a\177", "0123456789abcdef\1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct fg_field fields[] = {{FG_SPAN("x-a"), fg_span_from_string(bad[i])},
                                          usual[0],
                                          {FG_SPAN("x-b"), fg_span_from_string(bad[i])},
                                          {FG_SPAN("etag"), fg_span_from_string(bad[i])}};
        for (unsigned times = 0; times < 2; times++) {
            uint8_t block[400];
            size_t len = fg_hpack_write(&pair->hpack, 200, fields, 4, &never, block);
            read_back(pair, block, len, 200, &usual[0], 1);
        }
    }
}

static uint64_t next_random(uint64_t *seed)
{
    *seed += 0x9e3779b97f4a7c15u;
    uint64_t z = *seed;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* One of a few names, of which some are in the static table, and one of many values. */
static struct fg_field random_field(uint64_t *seed, char *text)
{
    static const char *const names[] = {
        "date",        "etag",        "via",       "x-a",
        "x-b",         "x-ab",        "vary",      "x-request-id",
        "traceparent", "set-cookie",  "x",         "content-type",
        "allow",       "retry-after", "ratelimit", "strict-transport-security"};
    uint64_t dice = next_random(seed);
    const char *name = names[dice % (sizeof(names) / sizeof(names[0]))];
    /* Mostly short; many of the same ends, so that guesses are wrong. */
    size_t len = dice >> 8 & 1 ? dice >> 16 & 7 : dice >> 16 & (dice >> 9 & 3 ? 63 : 2047);
    for (size_t i = 0; i < len; i++)
        text[i] = 'a';
    if (len > 0)
        text[(dice >> 32) % len] = (char)('a' + (dice >> 48) % 3);
    return (struct fg_field){fg_span_from_string(name), fg_span_make(text, len)};
}

static void is_read_back_whatever_is_said(void **state)
{
    struct pair *pair = *state;
    static const uint32_t sizes[] = {0, 31, 64, 200, 1000, 4096, 70000};
    static char texts[FIELDS_MAX][2048];
    uint64_t seed = 20261126;
    for (unsigned i = 0; i < 20000; i++) {
        struct fg_field fields[FIELDS_MAX];
        uint64_t dice = next_random(&seed);
        size_t count = dice % (FIELDS_MAX + 1);
        for (size_t f = 0; f < count; f++)
            fields[f] = random_field(&seed, texts[f]);
        for (uint64_t times = (dice >> 20) % 64; times < 3; times++)
            resize(pair, sizes[next_random(&seed) % (sizeof(sizes) / sizeof(sizes[0]))]);
        say(pair, 100 + (unsigned)(dice >> 40) % 500, fields, count);
        assert_true(pair->hpack.bytes <= pair->hpack.max);
        assert_true(pair->hpack.next - pair->hpack.first <= FG_HPACK_ENTRIES_MAX);
    }
}

/* However their hashes fall: a dozen fields of every answer, one of which is new in each. */
static void does_not_forget_what_it_says_each_time(void **state)
{
    static const char *const names[] = {"server",
                                        "content-type",
                                        "last-modified",
                                        "cache-control",
                                        "accept-ranges",
                                        "vary",
                                        "cache-status",
                                        "ratelimit-policy",
                                        "strict-transport-security",
                                        "x-a",
                                        "x-b"};
    const size_t same = sizeof(names) / sizeof(names[0]);
    struct pair *pair = *state;
    uint64_t seed = 7;
    unsigned forgotten = 0;
    for (unsigned trial = 0; trial < 300; trial++) {
        struct fg_field fields[FIELDS_MAX];
        char texts[FIELDS_MAX][24];
        for (size_t i = 0; i <= same; i++) {
            snprintf(texts[i], sizeof(texts[i]), "%016llx", (unsigned long long)next_random(&seed));
            fields[i] = (struct fg_field){fg_span_from_string(i < same ? names[i] : "x-request-id"),
                                          fg_span_make(texts[i], 16)};
        }
        say(pair, 200, fields, same + 1);
        uint32_t before = pair->hpack.next;
        for (unsigned i = 0; i < 10; i++) {
            texts[same][i] = '#';
            say(pair, 200, fields, same + 1);
        }
        /* Five of twelve may meet in one of 16 sets, but not more often than once in a while. */
        forgotten += pair->hpack.next > before;
    }
    assert_true(forgotten < 10);
}

/* More entries than places, each of 34 bytes: the client holds some that we know no more. */
static void forgets_before_the_client_does(void **state)
{
    struct pair *pair = *state;
    for (unsigned i = 0; i < 1000; i++) {
        char text[2] = {(char)('a' + i % 26), (char)('a' + i / 26 % 26)};
        const struct fg_field field = {fg_span_make(text, 1), fg_span_make(text + 1, 1)};
        say(pair, 200, &field, 1);
        assert_int_equal(say(pair, 200, &field, 1), 2);
    }
    assert_int_equal(pair->hpack.next - pair->hpack.first, FG_HPACK_ENTRIES_MAX);
}

/* A request: pseudo fields by their static names, a client's secrets in no table. */
static void says_requests(void **state)
{
    struct pair *pair = *state;
    const struct fg_field request[] = {
        {FG_SPAN(":method"), FG_SPAN("GET")},
        {FG_SPAN(":scheme"), FG_SPAN("http")},
        {FG_SPAN(":authority"), FG_SPAN("shop.example")},
        {FG_SPAN(":path"), FG_SPAN("/a")},
        {FG_SPAN("authorization"), FG_SPAN("Bearer x")},
        {FG_SPAN("cookie"), FG_SPAN("s=1")},
        {FG_SPAN("x-forwarded-for"), FG_SPAN("192.0.2.1")},
        {FG_SPAN("user-agent"), FG_SPAN("app/1")},
    };
    const size_t count = sizeof(request) / sizeof(request[0]);
    uint8_t block[400];
    size_t len = fg_hpack_write(&pair->hpack, 0, request, count, NULL, block);
    read_back_fields(pair, block, len, request, count);
    len = fg_hpack_write(&pair->hpack, 0, request, count, NULL, block);
    /* The rest is remembered: of an address that differs each time, its name. */
    const uint8_t path[] = {0x04, 2, '/', 'a'};
    const uint8_t secrets[] = {0x1f, 8,   8,    'B', 'e', 'a', 'r', 'e', 'r',
                               ' ',  'x', 0x1f, 17,  3,   's', '=', '1'};
    assert_memory_equal(block + 3, path, sizeof(path));
    assert_memory_equal(block + 3 + sizeof(path), secrets, sizeof(secrets));
    assert_int_equal(len, 3 + sizeof(path) + sizeof(secrets) + 1 + 1);
    read_back_fields(pair, block, len, request, count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(says_again_in_a_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_every_status, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_to_a_table_of_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tells_the_least_size_of_several, set_up, tear_down),
        cmocka_unit_test_setup_teardown(does_not_remember_what_does_not_fit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(marks_what_no_table_may_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leaves_out_what_no_value_may_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(is_read_back_whatever_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(does_not_forget_what_it_says_each_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forgets_before_the_client_does, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_requests, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
