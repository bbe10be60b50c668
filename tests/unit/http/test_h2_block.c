/*
 * test_h2_block.c: header blocks by raw frames, however they are cut; what is wrong with them ends
 * the stream or the connection with the right code; the table stays in step with streams that are
 * not wanted; content keeps to its length; and memory ends at each allocation in turn.
 */
#include "fake_transport.h"

#include "base/clock.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))
#define FEW NGHTTP2_FLAG_NONE
#define END NGHTTP2_FLAG_END_STREAM
#define WHOLE NGHTTP2_FLAG_END_HEADERS
#define PADDED NGHTTP2_FLAG_PADDED
#define PRIO NGHTTP2_FLAG_PRIORITY

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

/* Blocks: GET, http, path, ":authority: a.b" as the table's newest entry, or by its index. */
#define FIRST(path)                                                                                \
    "\x82\x86\x04" path "\x41\x03"                                                                 \
    "a.b"
#define AGAIN(path) "\x82\x86\x04" path "\xbe"
#define P_ROOT "\x01/"
#define P_WAIT "\x05/wait"
#define P_READ "\x05/read"

/* ---- memory that ends ---- */

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);

static unsigned allocations_left = UINT32_MAX;
static bool no_fresh_block; /* what is there may grow all the same */

static bool is_spent(void)
{
    if (allocations_left == 0)
        return true;
    if (allocations_left != UINT32_MAX)
        allocations_left--;
    return false;
}

void *__wrap_malloc(size_t bytes)
{
    return no_fresh_block || is_spent() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return is_spent() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *block, size_t bytes)
{
    return is_spent() ? NULL : __real_realloc(block, bytes);
}

/* ---- frames ---- */

struct frames {
    char data[65536];
    size_t len;
};

static void put(struct frames *frames, uint8_t type, uint8_t flags, int32_t id, const char *payload,
                size_t len)
{
    const char head[] = {0, (char)(len >> 8), (char)len, (char)type, (char)flags, 0, 0,
                         0, (char)id};
    assert_true(frames->len + sizeof(head) + len <= sizeof(frames->data));
    memcpy(frames->data + frames->len, head, sizeof(head));
    if (len > 0)
        memcpy(frames->data + frames->len + sizeof(head), payload, len);
    frames->len += sizeof(head) + len;
}

#define PUT(frames, type, flags, id, text)                                                         \
    put(frames, NGHTTP2_##type, flags, id, text, sizeof(text) - 1)

/* The code of the last frame of that type that was said, for that stream; -1: there is none. */
static int code_of(const struct fake *fake, uint8_t type, int32_t id)
{
    int code = -1;
    const unsigned char *out = (const unsigned char *)fake->out;
    for (size_t at = 0; at + 9 <= fake->out_len;) {
        size_t len = (size_t)out[at] << 16 | (size_t)out[at + 1] << 8 | out[at + 2];
        size_t code_at = at + 9 + (type == NGHTTP2_GOAWAY ? 7 : 3);
        if (out[at + 3] == type && out[at + 8] == id)
            code = out[code_at];
        at += 9 + len;
    }
    return code;
}

static int goaway_of(const struct fake *fake)
{
    return code_of(fake, NGHTTP2_GOAWAY, 0);
}

static void open_fake(struct fake *fake, const struct fg_limits_conf *limits)
{
    fake_open(fake, true, limits);
    fake_feed(fake, preface, sizeof(preface) - 1);
}

/* ---- whole blocks, cut ---- */

/* Two requests: the first in three frames, with all that HEADERS may have around a block. */
static void put_two_requests(struct frames *frames)
{
    PUT(frames, HEADERS, END | PADDED | PRIO, 1, "\x03\0\0\0\0\x10\x82\x86\x04\x01\0\0\0");
    PUT(frames, CONTINUATION, FEW, 1,
        "/\x41\x03"
        "a.b\x40\x03x-");
    PUT(frames, CONTINUATION, FEW, 1, "");
    PUT(frames, CONTINUATION, WHOLE, 1,
        "a\x05"
        "hello");
    PUT(frames, PING, FEW, 0, "12345678");
    PUT(frames, HEADERS, END | WHOLE | PADDED, 3, "\0\x82\x86\x84\xbf\xbe");
}

static void expect_two_requests(struct fake *fake)
{
    assert_int_equal(fake->requests, 2);
    assert_non_null(strstr(fake->heard, "GET a.b /"));
    assert_non_null(strstr(fake->heard, "x-a: hello\n"));
    assert_int_equal(goaway_of(fake), -1);
    assert_false(fake->is_armed && fake->armed == FG_TIMEOUT_HEADER);
}

static void reads_a_block_however_it_is_cut(void **state)
{
    (void)state;
    struct frames frames = {.len = 0};
    put_two_requests(&frames);
    for (size_t step = 1; step <= frames.len; step++) {
        struct fake fake;
        open_fake(&fake, NULL);
        for (size_t at = 0; at < frames.len; at += step)
            fake_feed(&fake, frames.data + at, frames.len - at < step ? frames.len - at : step);
        expect_two_requests(&fake);
        fake_close(&fake);
    }
    for (size_t cut = 1; cut < frames.len; cut++) {
        struct fake fake;
        open_fake(&fake, NULL);
        fake_feed(&fake, frames.data, cut);
        fake_feed(&fake, frames.data + cut, frames.len - cut);
        expect_two_requests(&fake);
        fake_close(&fake);
    }
}

static void a_block_has_to_end_in_time(void **state)
{
    (void)state;
    struct frames frames = {.len = 0};
    struct fake fake;
    PUT(&frames, HEADERS, END, 1, FIRST(P_ROOT));
    size_t first = frames.len;
    PUT(&frames, CONTINUATION, WHOLE, 1, "");
    for (size_t cut = 9; cut <= first; cut++) {
        open_fake(&fake, NULL);
        fake_feed(&fake, frames.data, cut);
        assert_true(fake.is_armed);
        assert_int_equal(fake.armed, FG_TIMEOUT_HEADER);
        fake_feed(&fake, frames.data + cut, frames.len - cut);
        assert_false(fake.is_armed && fake.armed == FG_TIMEOUT_HEADER);
        assert_int_equal(fake.requests, 1);
        fake_close(&fake);
    }
}

/* ---- what ends the connection ---- */

static void tells_what_is_wrong_with_frames(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        uint8_t flags;
        int32_t id;
        const char *payload;
        size_t len;
        int code;
    } rows[] = {
        {NGHTTP2_HEADERS, WHOLE | PADDED, 1, "", 0, NGHTTP2_FRAME_SIZE_ERROR},
        {NGHTTP2_HEADERS, WHOLE | PADDED, 1, "\x03\x82\x86", 3, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_HEADERS, WHOLE | PADDED | PRIO, 1, "\x01\0\0\0\0\x10", 6, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_HEADERS, WHOLE | PRIO, 1, "\0\0\0\0", 4, NGHTTP2_FRAME_SIZE_ERROR},
        {NGHTTP2_HEADERS, WHOLE | PADDED | PRIO, 1, "\0\0\0\0\0", 5, NGHTTP2_FRAME_SIZE_ERROR},
        {NGHTTP2_HEADERS, WHOLE, 0, "\x82", 1, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_HEADERS, WHOLE, 2, "\x82", 1, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_CONTINUATION, WHOLE, 1, "\x82", 1, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_HEADERS, WHOLE, 1, "\xbe", 1, NGHTTP2_COMPRESSION_ERROR},
        {NGHTTP2_HEADERS, WHOLE | END, 1,
         "\x82\x86\x84\x41\x03"
         "a.b\x80",
         9, NGHTTP2_COMPRESSION_ERROR},
        {NGHTTP2_HEADERS, WHOLE, 0, "\xbe", 1, NGHTTP2_PROTOCOL_ERROR},
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct frames frames = {.len = 0};
        put(&frames, rows[i].type, rows[i].flags, rows[i].id, rows[i].payload, rows[i].len);
        for (size_t step = 1; step <= frames.len; step++) {
            struct fake fake;
            open_fake(&fake, NULL);
            for (size_t at = 0; at < frames.len; at += step)
                fake_feed(&fake, frames.data + at, frames.len - at < step ? frames.len - at : step);
            if (goaway_of(&fake) != rows[i].code || fake.requests != 0 || !fake.is_closing)
                fail_msg("row %zu by %zu: %d", i, step, goaway_of(&fake));
            /* nothing is heard any more */
            struct frames more = {.len = 0};
            PUT(&more, HEADERS, END | WHOLE, 5, FIRST(P_ROOT));
            fake_feed(&fake, more.data, more.len);
            assert_int_equal(fake.requests, 0);
            fake_close(&fake);
        }
    }
}

static void expect_goaway(const struct frames *frames, const struct fg_limits_conf *limits,
                          int code)
{
    struct fake fake;
    open_fake(&fake, limits);
    fake_feed(&fake, frames->data, frames->len);
    assert_int_equal(goaway_of(&fake), code);
    assert_int_equal(fake.requests, 0);
    fake_close(&fake);
}

static void nothing_may_stand_in_a_block(void **state)
{
    (void)state;
    struct frames frames = {.len = 0};
    PUT(&frames, HEADERS, END, 1, "\x82");
    PUT(&frames, PING, FEW, 0, "12345678");
    expect_goaway(&frames, NULL, NGHTTP2_PROTOCOL_ERROR);
    frames.len = 0;
    PUT(&frames, HEADERS, END, 1, "\x82");
    PUT(&frames, CONTINUATION, WHOLE, 3, FIRST(P_ROOT));
    expect_goaway(&frames, NULL, NGHTTP2_PROTOCOL_ERROR);
    frames.len = 0;
    PUT(&frames, HEADERS, END, 1, "\x82");
    PUT(&frames, HEADERS, WHOLE, 1, FIRST(P_ROOT));
    expect_goaway(&frames, NULL, NGHTTP2_PROTOCOL_ERROR);
}

static void a_block_has_few_frames_and_bytes(void **state)
{
    (void)state;
    struct fg_limits_conf limits = fake_limits();
    struct frames frames = {.len = 0};
    PUT(&frames, HEADERS, END, 1, FIRST(P_ROOT));
    for (unsigned n = 0; n < 9; n++)
        PUT(&frames, CONTINUATION, FEW, 1, "");
    expect_goaway(&frames, NULL, NGHTTP2_ENHANCE_YOUR_CALM);
    /* raw bytes that are no fields yet, many times the limit: a name of 64 KiB */
    limits.header_bytes_max = 1024;
    char piece[3000] = "\x82\x86\x84\x40\x7f\x80\xff\x02";
    frames.len = 0;
    put(&frames, NGHTTP2_HEADERS, END, 1, piece, sizeof(piece));
    for (unsigned n = 0; n < 3; n++)
        put(&frames, NGHTTP2_CONTINUATION, FEW, 1, piece, sizeof(piece));
    expect_goaway(&frames, &limits, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* They say a byte each, and are read one by one all the same. */
static void a_crowd_of_fields_ends_the_connection(void **state)
{
    (void)state;
    struct fg_limits_conf limits = fake_limits();
    limits.header_bytes_max = 1024;
    for (size_t count = 100; count <= 200; count += 100) {
        struct frames frames = {.len = 0};
        struct fake fake;
        char block[512] = FIRST(P_ROOT) "\x40\x01x";
        size_t len = sizeof(FIRST(P_ROOT) "\x40\x01x"); /* with an empty value */
        memset(block + len, 0xbe, count - 1);
        put(&frames, NGHTTP2_HEADERS, END | WHOLE, 1, block, len + count - 1);
        open_fake(&fake, &limits);
        fake_feed(&fake, frames.data, frames.len);
        bool is_crowd = 45 + count + 32 * (count + 4) >
                        4 * limits.header_bytes_max + 32 * limits.header_count_max;
        assert_int_equal(is_crowd, count == 200);
        assert_int_equal(goaway_of(&fake), is_crowd ? NGHTTP2_ENHANCE_YOUR_CALM : -1);
        assert_int_equal(fake.requests, 0);
        fake_close(&fake);
    }
}

/* One byte says 3000. */
static void a_bomb_ends_the_connection(void **state)
{
    (void)state;
    struct fg_limits_conf limits = fake_limits();
    limits.header_bytes_max = 8192;
    for (size_t times = 11; times <= 12; times++) {
        struct frames frames = {.len = 0};
        struct fake fake;
        char block[4096] = FIRST(P_ROOT) "\x40\x01x\x7f\xb9\x16"; /* 127 + 57 + 22 * 128 = 3000 */
        size_t len = sizeof(FIRST(P_ROOT) "\x40\x01x\x7f\xb9\x16") - 1;
        memset(block + len, 'v', 3000);
        len += 3000;
        memset(block + len, 0xbe, times - 1);
        put(&frames, NGHTTP2_HEADERS, END | WHOLE, 1, block, len + times - 1);
        PUT(&frames, HEADERS, END | WHOLE, 3, "\x82\x86\x84\xbf");
        open_fake(&fake, &limits);
        fake_feed(&fake, frames.data, frames.len);
        size_t said = times * (3001 + 32) + 45 + 4 * 32;
        bool is_bomb = said > 4 * limits.header_bytes_max + 32 * limits.header_count_max;
        assert_int_equal(is_bomb, times == 12);
        assert_int_equal(goaway_of(&fake), is_bomb ? NGHTTP2_ENHANCE_YOUR_CALM : -1);
        assert_int_equal(fg_counter_get(&fake.stats.h2_floods), is_bomb);
        assert_int_equal(fake.requests, is_bomb ? 0 : 1); /* the first is answered 431 */
        fake_close(&fake);
    }
}

/* ---- the table stays in step ---- */

static void a_malformed_request_resets_its_stream(void **state)
{
    (void)state;
    struct frames frames = {.len = 0};
    struct fake fake;
    PUT(&frames, HEADERS, END | WHOLE, 1,
        "\x82\x40\x03X-a\x01"
        "1\x86\x84\x41\x03"
        "a.b");
    PUT(&frames, HEADERS, END | WHOLE, 3, AGAIN(P_ROOT));
    PUT(&frames, HEADERS, END | WHOLE, 5, AGAIN(P_ROOT) "\xbf"); /* the name in upper case */
    PUT(&frames, HEADERS, END | WHOLE, 7,
        AGAIN(P_ROOT) "\x7f\0\x01"
                      "2");
    PUT(&frames, HEADERS, END | WHOLE, 9, "\x82\x86\x84\xbf");
    open_fake(&fake, NULL);
    fake_feed(&fake, frames.data, frames.len);
    assert_int_equal(fake.requests, 2);
    for (int32_t id = 1; id <= 9; id += 2)
        assert_int_equal(code_of(&fake, NGHTTP2_RST_STREAM, id),
                         id == 3 || id == 9 ? -1 : NGHTTP2_PROTOCOL_ERROR);
    assert_int_equal(goaway_of(&fake), -1);
    fake_close(&fake);
}

static void reads_what_is_refused(void **state)
{
    (void)state;
    struct fg_limits_conf limits = fake_limits();
    struct frames frames = {.len = 0};
    struct fake fake;
    limits.streams_per_connection_max = 1; /* which the client has not acknowledged */
    PUT(&frames, HEADERS, END | WHOLE, 1, FIRST(P_WAIT));
    PUT(&frames, HEADERS, END | WHOLE, 3,
        AGAIN(P_ROOT) "\x40\x03x-a\x01"
                      "1");
    PUT(&frames, RST_STREAM, FEW, 1, "\0\0\0\x08");
    PUT(&frames, HEADERS, END | WHOLE, 5, "\x82\x86\x84\xbf\xbe");
    open_fake(&fake, &limits);
    fake_feed(&fake, frames.data, frames.len);
    assert_int_equal(code_of(&fake, NGHTTP2_RST_STREAM, 3), NGHTTP2_REFUSED_STREAM);
    assert_int_equal(fake.requests, 2);
    assert_non_null(strstr(fake.heard, "x-a: 1\n"));
    assert_int_equal(goaway_of(&fake), -1);
    fake_close(&fake);
}

/* Trailers that come behind our reset. */
static void reads_what_is_late(void **state)
{
    (void)state;
    struct frames frames = {.len = 0};
    struct fake fake;
    PUT(&frames, HEADERS, WHOLE, 1,
        FIRST(P_ROOT) "\x0f\x0d\x01"
                      "1"); /* content-length */
    PUT(&frames, DATA, FEW, 1, "22");
    open_fake(&fake, NULL);
    fake_feed(&fake, frames.data, frames.len);
    assert_int_equal(code_of(&fake, NGHTTP2_RST_STREAM, 1), NGHTTP2_PROTOCOL_ERROR);
    frames.len = 0;
    PUT(&frames, HEADERS, END | WHOLE, 1,
        "\x40\x03x-a\x01"
        "1");
    PUT(&frames, HEADERS, END | WHOLE, 3, "\x82\x86\x84\xbf\xbe");
    fake_feed(&fake, frames.data, frames.len);
    assert_non_null(strstr(fake.heard, "x-a: 1\n"));
    assert_int_equal(goaway_of(&fake), -1);
    fake_close(&fake);
}

/* ---- content ---- */

static void content_keeps_to_its_length(void **state)
{
    (void)state;
    static const struct {
        const char *pieces[3]; /* of DATA; the last one ends the stream */
        const char *trailers;  /* if these do not */
        bool is_fine;
    } rows[] = {
        {{"12345", NULL}, NULL, true},
        {{"12", "345", NULL}, NULL, true},
        {{"12345", "", NULL}, NULL, true},
        {{"1234", NULL}, NULL, false},
        {{"123456", NULL}, NULL, false},
        {{"123", "456", NULL}, NULL, false},
        {{"", NULL}, NULL, false},
        {{"12345", NULL},
         "\x40\x03x-b\x01"
         "1",
         true},
        {{"1234", NULL},
         "\x40\x03x-b\x01"
         "1",
         false},
        {{"12345", NULL}, "\x82", false},
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct frames frames = {.len = 0};
        struct fake fake;
        PUT(&frames, HEADERS, WHOLE, 1,
            FIRST(P_READ) "\x0f\x0d\x01"
                          "5"); /* content-length */
        for (size_t n = 0; rows[i].pieces[n] != NULL; n++) {
            bool is_last = rows[i].pieces[n + 1] == NULL && rows[i].trailers == NULL;
            put(&frames, NGHTTP2_DATA, is_last ? END : FEW, 1, rows[i].pieces[n],
                strlen(rows[i].pieces[n]));
        }
        if (rows[i].trailers != NULL)
            put(&frames, NGHTTP2_HEADERS, END | WHOLE, 1, rows[i].trailers,
                strlen(rows[i].trailers));
        open_fake(&fake, NULL);
        fake_feed(&fake, frames.data, frames.len);
        if ((code_of(&fake, NGHTTP2_RST_STREAM, 1) == -1) != rows[i].is_fine)
            fail_msg("row %zu: %d", i, code_of(&fake, NGHTTP2_RST_STREAM, 1));
        assert_int_equal(fake.requests, 1);
        assert_int_equal(fake.gones, !rows[i].is_fine);
        assert_int_equal(fake.lasts, rows[i].is_fine);
        assert_int_equal(goaway_of(&fake), -1);
        fake_close(&fake);
    }
}

/* The request is answered and gone; its body and its trailers are held to the same. */
static void content_behind_an_answer_keeps_to_its_length(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        const char *trailers; /* NULL: DATA ends the stream */
        int code;
        int goaway;
    } rows[] = {
        {"12345", NULL, -1, -1},
        {"123456", NULL, NGHTTP2_PROTOCOL_ERROR, -1},
        {"1234", NULL, NGHTTP2_PROTOCOL_ERROR, -1},
        {"12345",
         "\x40\x03x-a\x01"
         "1",
         -1, -1},
        {"1234",
         "\x40\x03x-a\x01"
         "1",
         NGHTTP2_PROTOCOL_ERROR, -1},
        {"12345",
         "\x40\x03x-A\x01"
         "1",
         NGHTTP2_PROTOCOL_ERROR, -1},
        {"12345", "\x82", NGHTTP2_PROTOCOL_ERROR, -1},
        {"12345", "\xff\x7f", -1, NGHTTP2_COMPRESSION_ERROR},
    };
    struct fg_limits_conf limits = fake_limits();
    limits.late_body_max = 65536;
    limits.late_body_timeout_ns = 5 * FG_S;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct frames frames = {.len = 0};
        struct fake fake;
        PUT(&frames, HEADERS, WHOLE, 1,
            FIRST(P_ROOT) "\x0f\x0d\x01"
                          "5"); /* content-length */
        open_fake(&fake, &limits);
        fake_feed(&fake, frames.data, frames.len);
        assert_int_equal(fake.dones, 1);
        frames.len = 0;
        bool is_last = rows[i].trailers == NULL;
        put(&frames, NGHTTP2_DATA, is_last ? END : FEW, 1, rows[i].content,
            strlen(rows[i].content));
        if (!is_last)
            put(&frames, NGHTTP2_HEADERS, END | WHOLE, 1, rows[i].trailers,
                strlen(rows[i].trailers));
        fake_feed(&fake, frames.data, frames.len);
        if (code_of(&fake, NGHTTP2_RST_STREAM, 1) != rows[i].code)
            fail_msg("row %zu: %d", i, code_of(&fake, NGHTTP2_RST_STREAM, 1));
        assert_int_equal(goaway_of(&fake), rows[i].goaway);
        fake_close(&fake);
    }
}

/* ---- memory ---- */

/* What the codec takes while memory lasts; the transport has its own. */
static void feed_until_spent(struct fake *fake, const char *data, size_t len, unsigned *allowed)
{
    allocations_left = *allowed;
    assert_int_equal(fake->codec->ops->input(fake->codec, data, len), len);
    *allowed = allocations_left;
    allocations_left = UINT32_MAX;
    fake_turn(fake);
}

/* Nothing of what it would put into the table is read. */
static void a_promise_ends_the_connection(void **state)
{
    (void)state;
    static const char smaller[] = "\0\x01\0\0\0\x40";
    static const char larger[] = "\0\x01\0\0\x20\0";
    struct frames frames = {.len = 0};
    struct fake fake;
    open_fake(&fake, NULL);
    put(&frames, NGHTTP2_SETTINGS, FEW, 0, smaller, 6);
    put(&frames, NGHTTP2_SETTINGS, FEW, 0, larger, 6);
    put_two_requests(&frames);
    fake_feed(&fake, frames.data, frames.len);
    expect_two_requests(&fake);
    frames.len = 0;
    PUT(&frames, PUSH_PROMISE, WHOLE, 3, "\0\0\0\x02\x40\x01x\x01y");
    fake_feed(&fake, frames.data, frames.len);
    assert_int_equal(goaway_of(&fake), NGHTTP2_PROTOCOL_ERROR);
    fake_close(&fake);
}

/* Each allocation fails in turn: the connection ends, or a request is refused, or all is well. */
static void lives_without_memory(void **state)
{
    (void)state;
    struct frames frames = {.len = 0};
    put_two_requests(&frames);
    unsigned closed = 0, left = 0;
    for (unsigned allowed = 0; left == 0; allowed++) {
        struct fake fake;
        open_fake(&fake, NULL);
        left = allowed;
        size_t cut = 30;
        feed_until_spent(&fake, frames.data, cut, &left);
        if (!fake.is_closing)
            feed_until_spent(&fake, frames.data + cut, frames.len - cut, &left);
        closed += fake.is_closing;
        if (left > 0)
            expect_two_requests(&fake);
        fake_close(&fake);
        assert_true(allowed < 500);
    }
    assert_true(closed > 0);
}

/* Has a stream 1 ended, and by a frame of that type? */
static bool is_ended_by(const struct fake *fake, uint8_t type)
{
    const unsigned char *out = (const unsigned char *)fake->out;
    for (size_t at = 0; at + 9 <= fake->out_len;) {
        if (out[at + 3] == type && out[at + 8] == 1 && (out[at + 4] & END) != 0)
            return true;
        at += 9 + ((size_t)out[at] << 16 | (size_t)out[at + 1] << 8 | out[at + 2]);
    }
    return false;
}

/* The request's memory ends at each place in turn, and there is no other. */
static void without_its_trailers_no_answer_looks_whole(void **state)
{
    (void)state;
    struct fg_limits_conf limits = fake_limits();
    unsigned whole = 0, reset = 0;
    for (limits.request_memory_max = 512; limits.request_memory_max < FG_ARENA_CHUNK_BYTES;
         limits.request_memory_max += 16) {
        struct fake fake;
        struct frames frames = {.len = 0};
        PUT(&frames, HEADERS, END | WHOLE, 1,
            "\x82\x87\x04\x07/behind\x01\x03"
            "a.b");
        open_fake(&fake, &limits);
        assert_int_equal(fake.codec->ops->input(fake.codec, frames.data, frames.len), frames.len);
        no_fresh_block = true;
        fake_turn(&fake);
        no_fresh_block = false;
        assert_false(fake.requests > 0 && is_ended_by(&fake, NGHTTP2_DATA));
        whole += is_ended_by(&fake, NGHTTP2_HEADERS);
        reset += code_of(&fake, NGHTTP2_RST_STREAM, 1) == NGHTTP2_INTERNAL_ERROR;
        fake_close(&fake);
    }
    assert_true(whole > 0 && reset > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_block_however_it_is_cut),
        cmocka_unit_test(a_block_has_to_end_in_time),
        cmocka_unit_test(tells_what_is_wrong_with_frames),
        cmocka_unit_test(nothing_may_stand_in_a_block),
        cmocka_unit_test(a_block_has_few_frames_and_bytes),
        cmocka_unit_test(a_crowd_of_fields_ends_the_connection),
        cmocka_unit_test(a_bomb_ends_the_connection),
        cmocka_unit_test(a_malformed_request_resets_its_stream),
        cmocka_unit_test(reads_what_is_refused),
        cmocka_unit_test(reads_what_is_late),
        cmocka_unit_test(content_keeps_to_its_length),
        cmocka_unit_test(content_behind_an_answer_keeps_to_its_length),
        cmocka_unit_test(a_promise_ends_the_connection),
        cmocka_unit_test(lives_without_memory),
        cmocka_unit_test(without_its_trailers_no_answer_looks_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
