/*
 * test_client_header.c: the PROXY header that servers are sent, byte for byte, and read again by
 * the parser for those that we are sent.
 */
#include "proxy/client_header.h"

#include "net/proxy_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static struct fg_client_link link_to(const char *local, uint16_t local_port, uint16_t client_port)
{
    struct fg_client_link link = {.local_port = local_port, .client_port = client_port};
    assert_true(fg_ip_parse(fg_span_from_string(local), &link.local_ip));
    return link;
}

static void expect(const struct fg_exchange *ex, const struct fg_cluster_conf *conf,
                   struct fg_span alpn, struct fg_span expected)
{
    char text[FG_CLIENT_HEADER_BYTES_MAX];
    struct fg_proxy_header header;
    size_t len = fg_client_header_make(ex, conf, alpn, text);
    assert_int_equal(len, expected.len);
    assert_memory_equal(text, expected.data, len);
    assert_int_equal(fg_proxy_header_parse(fg_span_make(text, len), &header), FG_PROXY_HEADER_OK);
    assert_int_equal(header.len, len);
    assert_int_equal(header.has_source, ex->client_addr.len > 0);
}

static void version_1_is_a_line(void **state)
{
    (void)state;
    const struct fg_cluster_conf conf = {.proxy_version = FG_PROXY_V1};
    struct fg_client_link link = link_to("192.0.2.2", 443, 4660);
    struct fg_exchange ex = {.client_addr = FG_SPAN("198.51.100.7"), .link = &link};
    expect(&ex, &conf, FG_SPAN(""), FG_SPAN("PROXY TCP4 198.51.100.7 192.0.2.2 4660 443\r\n"));
    /* behind a proxy of ours: its port is nobody's business */
    ex.peer_addr = FG_SPAN("10.0.0.1");
    expect(&ex, &conf, FG_SPAN(""), FG_SPAN("PROXY TCP4 198.51.100.7 192.0.2.2 0 443\r\n"));
    ex.peer_addr = ex.client_addr;
    expect(&ex, &conf, FG_SPAN(""), FG_SPAN("PROXY TCP4 198.51.100.7 192.0.2.2 4660 443\r\n"));
    ex.client_addr = ex.peer_addr = FG_SPAN("2001:db8::9");
    expect(&ex, &conf, FG_SPAN(""),
           FG_SPAN("PROXY TCP6 2001:db8::9 ::ffff:192.0.2.2 4660 443\r\n"));
    link = link_to("2001:db8::1", 8443, 1);
    expect(&ex, &conf, FG_SPAN(""), FG_SPAN("PROXY TCP6 2001:db8::9 2001:db8::1 1 8443\r\n"));
    ex.client_addr = ex.peer_addr = FG_SPAN("198.51.100.7");
    expect(&ex, &conf, FG_SPAN(""),
           FG_SPAN("PROXY TCP6 ::ffff:198.51.100.7 2001:db8::1 1 8443\r\n"));
    ex.link = NULL;
    expect(&ex, &conf, FG_SPAN(""), FG_SPAN("PROXY TCP4 198.51.100.7 0.0.0.0 0 0\r\n"));
    ex.client_addr = FG_SPAN("");
    expect(&ex, &conf, FG_SPAN(""), FG_SPAN("PROXY UNKNOWN\r\n"));
}

static void version_2_is_binary(void **state)
{
    (void)state;
    const struct fg_cluster_conf conf = {.proxy_version = FG_PROXY_V2};
    struct fg_client_link link = link_to("192.0.2.2", 443, 4660);
    struct fg_exchange ex = {
        .client_addr = FG_SPAN("198.51.100.7"), .request_id = FG_SPAN("id"), .link = &link};
    expect(&ex, &conf, FG_SPAN("h2"),
           FG_SPAN(SIGNATURE "\x21\x11\x00\x0c\xc6\x33\x64\x07\xc0\x00\x02\x02\x12\x34\x01\xbb"));
    link = link_to("2001:db8::2", 258, 1);
    ex.client_addr = FG_SPAN("2001:db8::1");
    expect(&ex, &conf, FG_SPAN("h2"),
           FG_SPAN(SIGNATURE "\x21\x21\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                             "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x00\x01\x01\x02"));
    ex.client_addr = FG_SPAN(""); /* a check of our own */
    expect(&ex, &conf, FG_SPAN("h2"), FG_SPAN(SIGNATURE "\x20\x00\x00\x00"));
}

static void version_2_says_more_when_asked(void **state)
{
    (void)state;
    struct fg_cluster_conf conf = {.proxy_version = FG_PROXY_V2,
                                   .proxy_tlvs = 1u << FG_PROXY_TLV_ALPN |
                                                 1u << FG_PROXY_TLV_AUTHORITY |
                                                 1u << FG_PROXY_TLV_SSL};
    struct fg_client_link link = link_to("192.0.2.2", 443, 4660);
    struct fg_exchange ex = {
        .client_addr = FG_SPAN("198.51.100.7"), .request_id = FG_SPAN("id"), .link = &link};
#define ADDRESSES "\xc6\x33\x64\x07\xc0\x00\x02\x02\x12\x34\x01\xbb"
    expect(&ex, &conf, FG_SPAN(""), FG_SPAN(SIGNATURE "\x21\x11\x00\x0c" ADDRESSES));
    link.server_name = FG_SPAN("a.test");
    link.tls_version = "TLSv1.3";
    expect(&ex, &conf, FG_SPAN("h2"),
           FG_SPAN(SIGNATURE "\x21\x11\x00\x2c" ADDRESSES "\x01\x00\x02h2\x02\x00\x06"
                             "a.test\x20\x00\x0f\x01\x00\x00\x00\x01\x21\x00\x07TLSv1.3"));
    link.has_certificate = true;
    conf.proxy_tlvs = 1u << FG_PROXY_TLV_SSL | 1u << FG_PROXY_TLV_UNIQUE_ID;
    expect(&ex, &conf, FG_SPAN("h2"),
           FG_SPAN(SIGNATURE "\x21\x11\x00\x23" ADDRESSES "\x05\x00\x02id\x20\x00\x0f"
                             "\x07\x00\x00\x00\x00\x21\x00\x07TLSv1.3"));
    link.is_resumed = true; /* it was shown on another connection of the session */
    conf.proxy_tlvs = 1u << FG_PROXY_TLV_SSL;
    expect(&ex, &conf, FG_SPAN("h2"),
           FG_SPAN(SIGNATURE "\x21\x11\x00\x1e" ADDRESSES "\x20\x00\x0f"
                             "\x05\x00\x00\x00\x00\x21\x00\x07TLSv1.3"));
    link.has_certificate = false;
    expect(&ex, &conf, FG_SPAN("h2"),
           FG_SPAN(SIGNATURE "\x21\x11\x00\x1e" ADDRESSES "\x20\x00\x0f"
                             "\x01\x00\x00\x00\x01\x21\x00\x07TLSv1.3"));
#undef ADDRESSES
}

static void the_longest_header_fits(void **state)
{
    (void)state;
    char name[255], id[300];
    char text[FG_CLIENT_HEADER_BYTES_MAX];
    memset(name, 'n', sizeof(name));
    memset(id, 'i', sizeof(id));
    const struct fg_cluster_conf conf = {.proxy_version = FG_PROXY_V2, .proxy_tlvs = UINT32_MAX};
    struct fg_client_link link = link_to("2001:db8::2", 443, 4660);
    link.server_name = fg_span_make(name, sizeof(name));
    link.tls_version = "TLSv1.3";
    struct fg_exchange ex = {
        .client_addr = FG_SPAN("2001:db8::1"), .request_id = fg_span_make(id, 128), .link = &link};
    size_t len = fg_client_header_make(&ex, &conf, FG_SPAN("http/1.1"), text);
    assert_int_equal(len, 52 + 11 + 258 + 131 + 18);
    ex.request_id.len = sizeof(id); /* more than the specification allows: not said at all */
    assert_int_equal(fg_client_header_make(&ex, &conf, FG_SPAN("http/1.1"), text), len - 131);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_is_a_line),
        cmocka_unit_test(version_2_is_binary),
        cmocka_unit_test(version_2_says_more_when_asked),
        cmocka_unit_test(the_longest_header_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
