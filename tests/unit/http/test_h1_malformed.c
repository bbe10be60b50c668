/*
 * test_h1_malformed.c: what HTTP/1 refuses, with which status; each case whole and byte by byte,
 * with the same outcome, and never a second request out of the rest.
 */
#include "fake_transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define H "Host: h\r\n"
#define TAIL "\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

static const struct {
    unsigned status;
    const char *text;
} cases[] = {
    /* request line */
    {400, "GET\r\n\r\n"},
    {400, "GET /\r\n\r\n"},
    {400, "GET  / HTTP/1.1\r\n" H TAIL},
    {400, "GET /  HTTP/1.1\r\n" H TAIL},
    {400, "GET / x HTTP/1.1\r\n" H TAIL},
    {400, " GET / HTTP/1.1\r\n" H TAIL},
    {400, "GET\t/ HTTP/1.1\r\n" H TAIL},
    {400, "GET /\tHTTP/1.1\r\n" H TAIL},
    {400, "GET / HTTP/1.1 \r\n" H TAIL},
    {400, "GET / http/1.1\r\n" H TAIL},
    {505, "GET / HTTP/2.0\r\n" H TAIL},
    {505, "GET / HTTP/0.9\r\n" H TAIL},
    {505, "GET / HTTP/9.9\r\n" H TAIL},
    {400, "GET / HTTP/11\r\n" H TAIL},
    {400, "GET / HTTP/1.10\r\n" H TAIL},
    {400, "GET / RTSP/1.0\r\n" H TAIL},
    {400, "DESCRIBE / RTSP/1.0\r\n" H TAIL},
    {501, "PRI / HTTP/1.1\r\n" H TAIL},
    {501, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\n" H TAIL},
    {501, "get / HTTP/1.1\r\n" H TAIL},
    {400, "G@T / HTTP/1.1\r\n" H TAIL},
    {400, "\x16\x03\x01\x02"},
    {400, "\xff\xfe"},
    {501, "CONNECT h:443 HTTP/1.1\r\n" H TAIL},
    {400, "GET * HTTP/1.1\r\n" H TAIL},
    {400, "GET /\x01 HTTP/1.1\r\n" H TAIL},
    {400, "GET /caf\xc3\xa9 HTTP/1.1\r\n" H TAIL},
    {400, "GET /a%2fb HTTP/1.1\r\n" H TAIL},
    {400, "GET /a%00 HTTP/1.1\r\n" H TAIL},
    {400, "GET /../etc/passwd HTTP/1.1\r\n" H TAIL},
    {400, "GET /a\\b HTTP/1.1\r\n" H TAIL},
    {400, "GET /#x HTTP/1.1\r\n" H TAIL},
    {400, "GET ftp://h/ HTTP/1.1\r\n" H TAIL},
    {400, "GET http://other/ HTTP/1.1\r\nHost: u@h\r\n" TAIL},
    {400, "GET http://u:p@h/ HTTP/1.1\r\n" H TAIL},
    /* line ends */
    {400, "GET / HTTP/1.1\n" H TAIL},
    {400, "GET / HTTP/1.1\r\nHost: h\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\r\n\n"},
    {400, "GET / HTTP/1.1\rHost: h\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: h\rX: y\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\nHost: h\r\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\r\nHost: h\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\n Host: h\r\n" TAIL},
    {400, "\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" H TAIL},
    /* fields */
    {400, "GET / HTTP/1.1\r\n" H "X : y\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\n" H "X\t: y\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\n" H ": y\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\n" H "X\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\n" H "X(y): z\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\n" H "X\x80: z\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\n" H "X: a\x01z\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\n" H "X: a\x7fz\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\n" H "X: \x1b[0m\r\n" TAIL},
    /* host */
    {400, "GET / HTTP/1.1\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\nHost:\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\n" H H TAIL},
    {400, "GET / HTTP/1.1\r\n" H "host: i\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\nHost: h, i\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\nHost: h i\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\nHost: u@h\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\nHost: h/x\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\nHost: h:99999\r\n" TAIL},
    {400, "GET / HTTP/1.1\r\nHost: [::1\r\n" TAIL},
    {400, "GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n" TAIL},
    /* length */
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: +1\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 1 1\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 0x1\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: one\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length:\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 1\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\ncontent-length: 2\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 0\r\nContent-Length: 0\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n" TAIL},
    {501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, identity\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n" TAIL},
    {400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n" TAIL},
    {400,
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" TAIL},
    {400,
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" TAIL},
    {400, "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n" TAIL},
    {417, "POST / HTTP/1.1\r\n" H "Expect: the-moon\r\nContent-Length: 1\r\n" TAIL},
    {413, "POST /read HTTP/1.1\r\n" H "Content-Length: 2000000\r\n" TAIL},
    {413, "POST /small HTTP/1.1\r\n" H "Content-Length: 11\r\n" TAIL},
    /* chunks; the handler has seen the head, and has not answered */
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nx\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n-1\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n 1\r\na\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1 \r\na\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1\na\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1\r\na\r0\r\n" TAIL},
    {400,
     "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" TAIL},
    {400,
     "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0000000000000000001\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n X: y\r\n" TAIL},
    {400, "POST /read HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\rGET" TAIL},
};

static void check(const char *text, unsigned status, size_t step)
{
    struct fake fake;
    fake_open(&fake, false, NULL);
    size_t len = strlen(text);
    for (size_t at = 0; at < len; at += step)
        fake_feed(&fake, text + at, len - at < step ? len - at : step);
    assert_int_equal(fake_status(&fake), status);
    assert_true(fake_said(&fake, "connection: close\r\n"));
    assert_true(fake_said(&fake, "{\"error\":{\"type\":\"invalid_request\",\"code\":\""));
    assert_true(fake.is_closing);
    assert_true(fake.requests <= 1);
    assert_false(fake_heard(&fake, "smuggled"));
    /* One answer only. */
    const char *second = memmem(fake.out, fake.out_len, "\nHTTP/1.1 ", 10);
    assert_null(second);
    fake_close(&fake);
}

static void refuses_what_is_malformed(void **state)
{
    (void)state;
    assert_true(sizeof(cases) / sizeof(cases[0]) >= 60);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        print_message("%s\n", cases[i].text);
        check(cases[i].text, cases[i].status, strlen(cases[i].text));
        check(cases[i].text, cases[i].status, 1);
        check(cases[i].text, cases[i].status, 7);
    }
}

static void refuses_a_nul_anywhere(void **state)
{
    (void)state;
    static const char good[] = "GET / HTTP/1.1\r\nHost: h\r\nX: abc\r\n\r\n";
    for (size_t at = 0; at < sizeof(good) - 3; at++) {
        char text[sizeof(good)];
        memcpy(text, good, sizeof(good));
        text[at] = '\0';
        struct fake fake;
        fake_open(&fake, false, NULL);
        fake_feed(&fake, text, sizeof(text) - 1);
        assert_int_equal(fake.requests, 0);
        if (fake.out_len > 0)
            assert_true(fake_status(&fake) == 400 || fake_status(&fake) == 501 ||
                        fake_status(&fake) == 505);
        fake_close(&fake);
    }
}

static char *make_text(const char *head, size_t fill, const char *tail)
{
    size_t head_len = strlen(head);
    size_t tail_len = strlen(tail);
    char *text = malloc(head_len + fill + tail_len + 1);
    assert_non_null(text);
    memcpy(text, head, head_len);
    memset(text + head_len, 'a', fill);
    memcpy(text + head_len + fill, tail, tail_len + 1);
    return text;
}

static void limits_the_size_of_a_head(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *head;
        size_t fill;
        const char *tail;
    } sizes[] = {
        {404, "GET /", 1023, " HTTP/1.1\r\n" H "\r\n"},
        {414, "GET /", 1024, " HTTP/1.1\r\n" H "\r\n"},
        {414, "GET /", 5000, ""},
        {200, "GET / HTTP/1.1\r\n" H "X: ", 4096 - 5 - 1, "\r\n\r\n"},
        {431, "GET / HTTP/1.1\r\n" H "X: ", 4096 - 5, "\r\n\r\n"},
        {431, "GET / HTTP/1.1\r\n" H "X: ", 20000, ""},
        {431, "GET / HTTP/1.1\r\n" H "", 20000, ""},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *text = make_text(sizes[i].head, sizes[i].fill, sizes[i].tail);
        size_t len = strlen(text);
        for (size_t step = 1; step <= len;
             step = step * 16 < len || step == len ? step * 16 : len) {
            struct fake fake;
            fake_open(&fake, false, NULL);
            for (size_t at = 0; at < len; at += step)
                fake_feed(&fake, text + at, len - at < step ? len - at : step);
            assert_int_equal(fake_status(&fake), sizes[i].status);
            fake_close(&fake);
        }
        free(text);
    }
}

static void limits_the_number_of_fields(void **state)
{
    (void)state;
    for (unsigned extra = 31; extra <= 32; extra++) {
        struct fake fake;
        fake_open(&fake, false, NULL);
        fake_feed_text(&fake, "GET / HTTP/1.1\r\nHost: h\r\n");
        for (unsigned i = 0; i < extra; i++)
            fake_feed_text(&fake, "X: y\r\n");
        fake_feed_text(&fake, "\r\n");
        assert_int_equal(fake_status(&fake), extra == 31 ? 200 : 431);
        fake_close(&fake);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_malformed),
        cmocka_unit_test(refuses_a_nul_anywhere),
        cmocka_unit_test(limits_the_size_of_a_head),
        cmocka_unit_test(limits_the_number_of_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
