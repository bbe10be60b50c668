/*
 * test_tls_hosts.c: which hosts a connection may ask for, by certificates and rules for clients.
 */
#include "net/tls_hosts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

enum { RSA, EC };
enum { PUBLIC, PARTNER_RSA, PARTNER_EC, WILD };

static struct fg_tls_hosts hosts;

static void add(unsigned index, unsigned type, const char *name)
{
    assert_int_equal(fg_tls_names_add(&hosts.names, index, type, name), FG_OK);
}

static int set_up(void **state)
{
    (void)state;
    hosts = (struct fg_tls_hosts){.default_having = 1 << PUBLIC, .has_rules = true};
    add(PUBLIC, EC, "www.example.org");
    add(PARTNER_RSA, RSA, "partner.example.org");
    add(PARTNER_EC, EC, "partner.example.org");
    add(WILD, EC, "*.example.org");
    add(WILD, EC, "www.example.org"); /* not the first of its type, but it stands for it */
    fg_tls_names_complete(&hosts.names);
    hosts.rules[PARTNER_RSA] = hosts.rules[PARTNER_EC] = 1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fg_tls_names_fini(&hosts.names);
    return 0;
}

static void lets_nobody_change_the_rules(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        uint8_t rules;
    } cases[] = {
        {"www.example.org", 0},
        {"partner.example.org", 1},
        {"PARTNER.example.org.", 1},
        {"other.example.org", 0},
        {"a.partner.example.org", 0},
        {"127.0.0.1", 0},
        {"x", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_span host = fg_span_from_string(cases[i].host);
        for (uint8_t rules = 0; rules < 2; rules++)
            assert_int_equal(fg_tls_hosts_allow(&hosts, rules, host), rules == cases[i].rules);
    }
    hosts.has_rules = false;
    assert_true(fg_tls_hosts_allow(&hosts, 1, FG_SPAN("www.example.org")));
    hosts.has_rules = true;
    assert_int_equal(fg_tls_hosts_rules(&hosts, 0), 0);
    assert_int_equal(fg_tls_hosts_rules(&hosts, 1 << PARTNER_RSA | 1 << PARTNER_EC), 1);
}

static void covers_what_the_certificate_stands_for(void **state)
{
    (void)state;
    static const struct {
        const char *server_name;
        const char *host;
        bool covers;
    } cases[] = {
        {"www.example.org", "www.example.org", true},
        {"www.example.org", "shop.example.org", false},
        {"shop.example.org", "www.example.org", true}, /* the wildcard's own, and as a wildcard */
        {"shop.example.org", "news.example.org", true},
        {"shop.example.org", "partner.example.org", true}, /* rules are another matter */
        {"shop.example.org", "a.b.example.org", false},
        {"partner.example.org", "www.example.org", false},
        {"", "www.example.org", true}, /* who asks for none gets the first */
        {"", "shop.example.org", false},
        {"unknown.example.net", "www.example.org", true},
        {"unknown.example.net", "unknown.example.net", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        print_message("%s by %s\n", cases[i].host, cases[i].server_name);
        assert_int_equal(fg_tls_hosts_cover(&hosts, fg_span_from_string(cases[i].server_name),
                                            fg_span_from_string(cases[i].host)),
                         cases[i].covers);
    }
}

static void takes_the_host_out_of_an_authority(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"example.org", "example.org"},
        {"example.org:8443", "example.org"},
        {"[::1]:8443", "::1"},
        {"[::1]", "::1"},
        {"[", ""},
        {":1", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_true(fg_span_equal(fg_tls_host_of(fg_span_from_string(cases[i][0])),
                                  fg_span_from_string(cases[i][1])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_nobody_change_the_rules),
        cmocka_unit_test(covers_what_the_certificate_stands_for),
        cmocka_unit_test(takes_the_host_out_of_an_authority),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
