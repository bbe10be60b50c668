/*
 * test_cidr.c: addresses and networks, at their edges.
 */
#include "base/cidr.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct fg_ip ip_of(const char *text)
{
    struct fg_ip ip;
    assert_true(fg_ip_parse(fg_span_from_string(text), &ip));
    return ip;
}

static void reads_and_writes_addresses(void **state)
{
    (void)state;
    static const char *const same[] = {"0.0.0.0",   "192.0.2.1", "255.255.255.255", "9.10.99.100",
                                       "1.200.3.4", "::",        "2001:db8::1"};
    char text[FG_IP_TEXT_MAX];
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        struct fg_ip ip = ip_of(same[i]);
        assert_int_equal(fg_ip_format(&ip, text), strlen(same[i]));
        assert_string_equal(text, same[i]);
    }
    struct fg_ip mapped = ip_of("::ffff:192.0.2.1");
    fg_ip_format(&mapped, text);
    assert_string_equal(text, "192.0.2.1");
    assert_true(fg_ip_is_v4(&mapped));
}

static void refuses_what_is_no_address(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",      "1.2.3",    "1.2.3.4.5", "256.1.1.1",  "1.2.3.4 ",  " 1.2.3.4",  "01.2.3.4",
        "[::1]", "::1%eth0", ":::",       "1.2.3.4:80", "localhost", "fe80::1::2"};
    struct fg_ip ip;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(fg_ip_parse(fg_span_from_string(bad[i]), &ip));
    assert_false(fg_ip_parse(fg_span_make("1.2.3.4\0x", 9), &ip));
}

static bool is_in(const char *network, const char *address)
{
    struct fg_cidr cidr;
    struct fg_ip ip = ip_of(address);
    assert_true(fg_cidr_parse(fg_span_from_string(network), &cidr));
    return fg_cidr_contains(&cidr, &ip);
}

static void tells_who_is_inside(void **state)
{
    (void)state;
    assert_true(is_in("10.0.0.0/8", "10.255.255.255"));
    assert_false(is_in("10.0.0.0/8", "11.0.0.0"));
    assert_true(is_in("192.0.2.128/25", "192.0.2.128"));
    assert_false(is_in("192.0.2.128/25", "192.0.2.127"));
    assert_true(is_in("192.0.2.7", "192.0.2.7"));
    assert_false(is_in("192.0.2.7", "192.0.2.6"));
    assert_true(is_in("0.0.0.0/0", "8.8.8.8"));
    assert_false(is_in("0.0.0.0/0", "2001:db8::1"));
    assert_true(is_in("::/0", "8.8.8.8"));
    assert_true(is_in("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(is_in("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(is_in("10.0.0.0/8", "::ffff:10.1.2.3"));
}

static void refuses_what_is_no_network(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",       "10.0.0.0/33", "10.0.0.0/", "10.0.0.1/8",   "10.0.0.0/-1",  "10.0.0.0/8/8",
        "::1/64", "::/129",      "/8",        "10.0.0.0/0x8", "10.0.0.0/0008"};
    struct fg_cidr cidr;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(fg_cidr_parse(fg_span_from_string(bad[i]), &cidr));
}

static void takes_socket_addresses(void **state)
{
    (void)state;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr other = {.sa_family = AF_UNIX};
    struct fg_ip ip;
    char text[FG_IP_TEXT_MAX];
    assert_true(fg_ip_from_sockaddr((const struct sockaddr *)&v4, &ip));
    fg_ip_format(&ip, text);
    assert_string_equal(text, "192.0.2.1");
    assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.1", &v6.sin6_addr), 1);
    assert_true(fg_ip_from_sockaddr((const struct sockaddr *)&v6, &ip));
    fg_ip_format(&ip, text);
    assert_string_equal(text, "192.0.2.1");
    assert_false(fg_ip_from_sockaddr(&other, &ip));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_addresses), cmocka_unit_test(refuses_what_is_no_address),
        cmocka_unit_test(tells_who_is_inside),        cmocka_unit_test(refuses_what_is_no_network),
        cmocka_unit_test(takes_socket_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
