/*
 * test_h2_guard.c: HTTP/2 connections by raw frames: the allowance of frames without content, and
 * frames for streams that are no more, however the bytes are cut.
 */
#include "fake_transport.h"

#include "base/clock.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

/* GET of a path of one letter, all fields from the static table or literal. */
static size_t put_request(char *to, int32_t id, char path, uint8_t flags)
{
    const char frame[] = {0,           0,          11,         NGHTTP2_HEADERS,
                          (char)flags, 0,          0,          0,
                          (char)id,    (char)0x82, (char)0x86, 0x04,
                          2,           '/',        path,       0x01,
                          3,           'a',        '.',        'b'};
    memcpy(to, frame, sizeof(frame));
    return sizeof(frame);
}

static size_t put_frame(char *to, uint8_t type, uint8_t flags, int32_t id, const char *payload,
                        size_t len)
{
    const char head[] = {0, 0, (char)len, (char)type, (char)flags, 0, 0, 0, (char)id};
    memcpy(to, head, sizeof(head));
    memcpy(to + sizeof(head), payload, len);
    return sizeof(head) + len;
}

/* The code of the GOAWAY at the end of what was said; -1: there is none. */
static int last_words(const struct fake *fake)
{
    if (fake->out_len < 17)
        return -1;
    const char *goaway = fake->out + fake->out_len - 17;
    return goaway[3] == NGHTTP2_GOAWAY && goaway[2] == 8 ? goaway[16] : -1;
}

static void feed_cut(struct fake *fake, const char *data, size_t len, size_t step)
{
    for (size_t at = 0; at < len; at += step)
        fake_feed(fake, data + at, len - at < step ? len - at : step);
}

static void a_flood_uses_the_allowance_up(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        uint8_t flags;
        size_t len;
        unsigned allowed; /* of the thousand of fake_limits() */
    } cases[] = {
        {NGHTTP2_PING, 0, 8, 250},
        {NGHTTP2_SETTINGS, 0, 0, 249}, /* one came with the preface */
        {NGHTTP2_WINDOW_UPDATE, 0, 4, 996},
        {99, 0, 3, 996},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake fake;
        char frame[32];
        static const char payload[8] = {0, 0, 0, 1};
        size_t len = put_frame(frame, cases[i].type, cases[i].flags, 0, payload, cases[i].len);
        fake_open(&fake, true, NULL);
        fake_feed(&fake, preface, sizeof(preface) - 1);
        unsigned sent = 0;
        for (; !fake.is_closing && sent < 2000; sent++)
            feed_cut(&fake, frame, len, 1 + sent % 7);
        /* The clock of a test goes on too, but by little. */
        assert_in_range(sent, cases[i].allowed, cases[i].allowed + 100);
        assert_int_equal(last_words(&fake), NGHTTP2_ENHANCE_YOUR_CALM);
        assert_int_equal(fg_counter_get(&fake.stats.h2_floods), 1);
        fake_close(&fake);
    }
}

/* However large an allowance is: what a client does not read is bounded. */
static void unread_answers_to_pings_are_bounded(void **state)
{
    (void)state;
    struct fg_limits_conf limits = fake_limits();
    limits.h2_overhead_burst = 1000000;
    struct fake fake;
    char frame[32];
    size_t len = put_frame(frame, NGHTTP2_PING, 0, 0, "12345678", 8);
    fake_open(&fake, true, &limits);
    fake_feed(&fake, preface, sizeof(preface) - 1);
    for (unsigned i = 0; i < 5000; i++) /* of one who reads, now and then */
        fake_feed(&fake, frame, len);
    assert_false(fake.is_closing);
    fake_forget_output(&fake);
    fake.is_stuck = true;
    unsigned sent = 0;
    for (; !fake.is_closing && sent < 10000; sent++)
        fake_feed(&fake, frame, len);
    assert_in_range(sent, 1000, 4000);
    assert_int_equal(fake.close_mode, FG_CLOSE_LINGER);
    assert_int_equal(fg_counter_get(&fake.stats.protocol_errors), 1);
    fake_close(&fake);
}

static void answers_earn_the_allowance_back(void **state)
{
    (void)state;
    struct fake fake;
    char text[64];
    fake_open(&fake, true, NULL);
    fake_feed(&fake, preface, sizeof(preface) - 1);
    static const char ping[8];
    for (int32_t id = 1; id < 125; id += 2) {
        size_t len = put_request(text, id, 'n', 5); /* 404 without a body */
        fake_feed(&fake, text, len);
        len = put_frame(text, NGHTTP2_PING, 0, 0, ping, 8);
        for (unsigned i = 0; i < 3; i++)
            fake_feed(&fake, text, len);
    }
    assert_false(fake.is_closing);
    fake_close(&fake);
}

/* Clients of gRPC measure the way with a ping behind a window update for each piece they get. */
static void a_ping_for_each_piece_is_no_flood(void **state)
{
    (void)state;
    struct fake fake;
    char text[128];
    fake_open(&fake, true, NULL);
    fake_feed(&fake, preface, sizeof(preface) - 1);
    static const char head[] = {0,   0,          14,         NGHTTP2_HEADERS,
                                4,   0,          0,          0,
                                1,   (char)0x83, (char)0x86, 0x04,
                                5,   '/',        'e',        'c',
                                'h', 'o',        0x01,       3,
                                'a', '.',        'b'};
    memcpy(text, head, sizeof(head));
    fake_feed(&fake, text, sizeof(head));
    size_t len = put_frame(text, NGHTTP2_DATA, 0, 1, "piece", 5);
    len += put_frame(text + len, NGHTTP2_WINDOW_UPDATE, 0, 1, "\0\0\0\5", 4);
    len += put_frame(text + len, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\5", 4);
    len += put_frame(text + len, NGHTTP2_PING, 0, 0, "12345678", 8);
    for (unsigned i = 0; i < 3000; i++) {
        fake_feed(&fake, text, len);
        fake_forget_output(&fake);
    }
    assert_int_equal(fake.body_bytes, 15000);
    assert_false(fake.is_closing);
    fake_close(&fake);
}

static void who_has_waited_may_leave(void **state)
{
    (void)state;
    struct fake fake;
    char text[64];
    fake_open(&fake, true, NULL);
    fake_feed(&fake, preface, sizeof(preface) - 1);
    for (int32_t id = 1; id < 256; id += 2) {
        char head[] = {0,        0,          14,         NGHTTP2_HEADERS,
                       5,        0,          0,          0,
                       (char)id, (char)0x82, (char)0x86, 0x04,
                       5,        '/',        'w',        'a',
                       'i',      't',        0x01,       3,
                       'a',      '.',        'b'};
        fake_feed(&fake, head, sizeof(head));
        assert_non_null(fake.last);
        fake.last->ex.started_ns -= FG_S;
        fake_feed(&fake, text, put_frame(text, NGHTTP2_RST_STREAM, 0, id, "\0\0\0\10", 4));
        assert_int_equal(fake.dones, id / 2 + 1);
    }
    assert_false(fake.is_closing);
    fake_close(&fake);
}

static void streams_that_are_no_more(void **state)
{
    (void)state;
    static const struct {
        int32_t opened;
        int32_t then;
        uint8_t type;
        int code; /* -1: the connection goes on */
    } cases[] = {
        {1, 1, NGHTTP2_DATA, NGHTTP2_STREAM_CLOSED},
        {1, 1, NGHTTP2_HEADERS, NGHTTP2_STREAM_CLOSED},
        {5, 3, NGHTTP2_DATA, NGHTTP2_PROTOCOL_ERROR},
        {5, 3, NGHTTP2_HEADERS, NGHTTP2_PROTOCOL_ERROR},
        {5, 3, NGHTTP2_WINDOW_UPDATE, -1},
        {5, 7, NGHTTP2_HEADERS, -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t step = 1; step < 40; step += 6) {
            struct fake fake;
            char text[128];
            fake_open(&fake, true, NULL);
            feed_cut(&fake, preface, sizeof(preface) - 1, step);
            size_t len = put_request(text, cases[i].opened, 'n', 5);
            feed_cut(&fake, text, len, step);
            if (cases[i].type == NGHTTP2_HEADERS)
                len = put_request(text, cases[i].then, 'n', 5);
            else
                len = put_frame(text, cases[i].type, 0, cases[i].then, "\0\0\0\1", 4);
            feed_cut(&fake, text, len, step);
            assert_int_equal(fake.is_closing, cases[i].code != -1);
            if (cases[i].code != -1)
                assert_int_equal(last_words(&fake), cases[i].code);
            fake_close(&fake);
        }
    }
}

static void no_stream_depends_on_itself(void **state)
{
    (void)state;
    static const struct {
        int32_t id;
        const char *payload;
        size_t len;
        int code; /* -1: the connection goes on */
    } cases[] = {
        {1, "\0\0\0\1\20", 5, NGHTTP2_PROTOCOL_ERROR},
        {1, "\200\0\0\1\20", 5, NGHTTP2_PROTOCOL_ERROR},
        {9, "\0\0\0\11\20", 5, NGHTTP2_PROTOCOL_ERROR},
        {1, "\0\0\0\3\20", 5, -1},
        {9, "\0\0\0\0\20", 5, -1},
        {1, "\0\0\0\1", 4, NGHTTP2_FRAME_SIZE_ERROR},
        {0, "\0\0\0\0\20", 5, NGHTTP2_PROTOCOL_ERROR},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t step = 1; step < 40; step += 3) {
            struct fake fake;
            char text[128];
            fake_open(&fake, true, NULL);
            feed_cut(&fake, preface, sizeof(preface) - 1, step);
            size_t len =
                put_frame(text, NGHTTP2_PRIORITY, 0, cases[i].id, cases[i].payload, cases[i].len);
            len += put_request(text + len, 11, 'n', 5);
            feed_cut(&fake, text, len, step);
            assert_int_equal(fake.is_closing, cases[i].code != -1);
            assert_int_equal(fake.requests, cases[i].code == -1 ? 1 : 0);
            if (cases[i].code != -1)
                assert_int_equal(last_words(&fake), cases[i].code);
            fake_close(&fake);
        }
    }
}

static void gathers_small_data(void **state)
{
    (void)state;
    struct fake fake;
    char text[8192];
    fake_open(&fake, true, NULL);
    fake_feed(&fake, preface, sizeof(preface) - 1);
    static const char head[] = {0,    0,          19,         NGHTTP2_HEADERS,
                                4,    0,          0,          0,
                                1,    (char)0x83, (char)0x86, 0x04,
                                5,    '/',        'r',        'e',
                                'a',  'd',        0x01,       3,
                                'a',  '.',        'b',        0x0f,
                                0x0d, 2,          '6',        '0'};
    memcpy(text, head, sizeof(head));
    size_t len = sizeof(head);
    for (unsigned i = 0; i < 60; i++)
        len += put_frame(text + len, NGHTTP2_DATA, i == 59, 1, "x", 1);
    fake_feed(&fake, text, len);
    assert_int_equal(fake.body_bytes, 60);
    assert_int_equal(fake.pieces, 1);
    assert_int_equal(fake.lasts, 1);
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flood_uses_the_allowance_up),
        cmocka_unit_test(unread_answers_to_pings_are_bounded),
        cmocka_unit_test(answers_earn_the_allowance_back),
        cmocka_unit_test(a_ping_for_each_piece_is_no_flood),
        cmocka_unit_test(who_has_waited_may_leave),
        cmocka_unit_test(streams_that_are_no_more),
        cmocka_unit_test(no_stream_depends_on_itself),
        cmocka_unit_test(gathers_small_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
