/*
 * test_proxy_header.c: both versions of the PROXY header, whole, cut at every byte, and broken.
 */
#include "net/proxy_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x34\x01\xbb"
#define PATH_PART "/path/to/a.socket/path/to/a.so"
#define PATH PATH_PART PATH_PART PATH_PART "/a.socket/of/108.b"
#define PATHS PATH PATH

static void expect_source(struct fg_span bytes, size_t len, const char *source)
{
    struct fg_proxy_header header;
    char text[FG_IP_TEXT_MAX];
    assert_int_equal(fg_proxy_header_parse(bytes, &header), FG_PROXY_HEADER_OK);
    assert_int_equal(header.len, len);
    assert_int_equal(header.has_source, source != NULL);
    if (source != NULL) {
        fg_ip_format(&header.source, text);
        assert_string_equal(text, source);
        assert_int_not_equal(header.destination_port, 0);
    }
    /* Every beginning of it is only a beginning. */
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(fg_proxy_header_parse(fg_span_make(bytes.data, cut), &header),
                         FG_PROXY_HEADER_PARTIAL);
}

static void reads_version_1(void **state)
{
    (void)state;
    expect_source(FG_SPAN("PROXY TCP4 192.0.2.1 192.0.2.2 4660 443\r\nGET /"), 41, "192.0.2.1");
    expect_source(FG_SPAN("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n"), 36, "2001:db8::1");
    expect_source(FG_SPAN("PROXY UNKNOWN\r\n"), 15, NULL);
    expect_source(FG_SPAN("PROXY UNKNOWN whatever it is\r\n"), 30, NULL);
}

static void reads_version_2(void **state)
{
    (void)state;
    expect_source(FG_SPAN(SIGNATURE "\x21\x11\x00\x0c" V4 "GET /"), 28, "192.0.2.1");
    expect_source(FG_SPAN(SIGNATURE "\x21\x11\x00\x0f" V4 "\x04\x00\x00"), 31, "192.0.2.1");
    expect_source(FG_SPAN(SIGNATURE "\x21\x11\x00\x18" V4 "\x03\x00\x04\x01\xd5\xb4\xe6\x01\x00\x02"
                                    "h2"), /* a checksum that is right, and another value */
                  40, "192.0.2.1");
    expect_source(FG_SPAN(SIGNATURE "\x21\x21\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                                    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\0\x01\0\x02"),
                  52, "2001:db8::1");
    expect_source(FG_SPAN(SIGNATURE "\x20\x00\x00\x00"), 16, NULL);    /* LOCAL */
    expect_source(FG_SPAN(SIGNATURE "\x20\x11\x00\x0c" V4), 28, NULL); /* LOCAL with addresses */
    expect_source(FG_SPAN(SIGNATURE "\x21\x00\x00\x02xx"), 18, NULL);  /* UNSPEC */
    /* All of it is thrown away, also values that are cut off and checksums that are wrong. */
    expect_source(FG_SPAN(SIGNATURE "\x20\x11\x00\x0f" V4 "\x01\xff\xff"), 31, NULL);
    expect_source(FG_SPAN(SIGNATURE "\x20\x00\x00\x07\x03\x00\x04wxyz"), 23, NULL);
    expect_source(FG_SPAN(SIGNATURE "\x21\x00\x00\x03\x01\xff\xff"), 19, NULL);
    expect_source(FG_SPAN(SIGNATURE "\x21\x12\x00\x0c" V4), 28, NULL); /* UDP */
    expect_source(FG_SPAN(SIGNATURE "\x21\x31\x00\xd8" PATHS), 232, NULL);
    expect_source(FG_SPAN(SIGNATURE "\x21\x31\x00\xdb" PATHS "\x04\x00\x00"), 235, NULL);
}

static void refuses_broken_ones(void **state)
{
    (void)state;
    static const struct fg_span bad[] = {
        FG_SPAN_LITERAL("GET / HTTP/1.1\r\n"),
        FG_SPAN_LITERAL("PROXY\r\n"),
        FG_SPAN_LITERAL("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
        FG_SPAN_LITERAL("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"),
        FG_SPAN_LITERAL("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"),
        FG_SPAN_LITERAL("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"),
        FG_SPAN_LITERAL("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n"),
        FG_SPAN_LITERAL("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n"),
        FG_SPAN_LITERAL("PROXY TCP4 192.0.2.1 192.0.2.2  1 2\r\n"),
        FG_SPAN_LITERAL("PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n"),
        FG_SPAN_LITERAL("PROXY TCP4 192.0.2.1\r\n"),
        FG_SPAN_LITERAL("PROXY TCP4 2001:db8::1 ::1 1 2\r\n"),
        FG_SPAN_LITERAL("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n"),
        FG_SPAN_LITERAL("PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n"),
        FG_SPAN_LITERAL("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n"),
        FG_SPAN_LITERAL(SIGNATURE "\x11\x11\x00\x0c" V4),
        FG_SPAN_LITERAL(SIGNATURE "\x22\x11\x00\x0c" V4),
        FG_SPAN_LITERAL(SIGNATURE "\x21\x11\x00\x0b\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x34\x01"),
        FG_SPAN_LITERAL(SIGNATURE "\x21\x21\x00\x0c" V4),
        FG_SPAN_LITERAL(SIGNATURE "\x21\x11\xff\xff" V4),
        /* of addresses that nobody takes, too */
        FG_SPAN_LITERAL(SIGNATURE "\x21\x12\x00\x0b\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x34\x01"),
        FG_SPAN_LITERAL(SIGNATURE "\x21\x22\x00\x0c" V4),
        FG_SPAN_LITERAL(SIGNATURE "\x21\x31\x00\x0c" V4),
        FG_SPAN_LITERAL(SIGNATURE "\x21\x12\x00\x13" V4 "\x03\x00\x04\x00\x00\x00\x00"),
        FG_SPAN_LITERAL(SIGNATURE "\x21\x31\x00\xdf" PATHS "\x03\x00\x04\x00\x00\x00\x00"),
        FG_SPAN_LITERAL(SIGNATURE "\x21\x32\x00\xdb" PATHS "\x04\x00\x01"),
        FG_SPAN_LITERAL(SIGNATURE "\x21\x41\x00\x0c" V4), /* a family that is none */
        FG_SPAN_LITERAL(SIGNATURE "\x21\x13\x00\x0c" V4), /* a protocol that is none */
        FG_SPAN_LITERAL(SIGNATURE "\x21\x11\x00\x0e" V4 "\x04\x00"),
        FG_SPAN_LITERAL(SIGNATURE "\x21\x11\x00\x10" V4 "\x04\x00\x02x"),
        FG_SPAN_LITERAL(SIGNATURE "\x21\x11\x00\x12" V4 "\x03\x00\x03xxx"),
        FG_SPAN_LITERAL(SIGNATURE "\x21\x11\x00\x13" V4 "\x03\x00\x04\x00\x00\x00\x00"),
        FG_SPAN_LITERAL("\r\n\r\nGET /"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fg_proxy_header header;
        assert_int_equal(fg_proxy_header_parse(bad[i], &header), FG_PROXY_HEADER_BAD);
        assert_non_null(header.fault);
    }
}

static void does_not_wait_for_an_endless_line(void **state)
{
    (void)state;
    char line[200];
    struct fg_proxy_header header;
    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(fg_proxy_header_parse(fg_span_make(line, 106), &header),
                     FG_PROXY_HEADER_PARTIAL);
    assert_int_equal(fg_proxy_header_parse(fg_span_make(line, 107), &header), FG_PROXY_HEADER_BAD);
    line[105] = '\r';
    line[106] = '\n';
    assert_int_equal(fg_proxy_header_parse(fg_span_make(line, 200), &header), FG_PROXY_HEADER_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_version_1),
        cmocka_unit_test(reads_version_2),
        cmocka_unit_test(refuses_broken_ones),
        cmocka_unit_test(does_not_wait_for_an_endless_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
