/*
 * test_forwarded.c: who the client is, in both notations.
 */
#include "http/forwarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

struct forwarded_case {
    const char *values[3]; /* the fields of the wanted name, in order */
    const char *client;    /* NULL: only the peer is known */
    size_t hop_count;
    const char *scheme; /* of the RFC's notation */
};

static struct fg_cidr trusted[2];

static int set_up(void **state)
{
    (void)state;
    return fg_cidr_parse(FG_SPAN("10.0.0.0/8"), &trusted[0]) &&
                   fg_cidr_parse(FG_SPAN("2001:db8:1::/48"), &trusted[1])
               ? 0
               : -1;
}

static void check(enum fg_forwarded_kind kind, const char *name, const struct forwarded_case *one)
{
    struct fg_field fields[3];
    size_t count = 0;
    char text[FG_IP_TEXT_MAX] = "";
    for (; count < 3 && one->values[count] != NULL; count++)
        fields[count] =
            (struct fg_field){fg_span_from_string(name), fg_span_from_string(one->values[count])};
    const struct fg_listener_conf conf = {
        .trusted_proxies = trusted, .trusted_proxy_count = 2, .forwarded = kind};
    struct fg_forwarded forwarded;
    fg_forwarded_read(&conf, fields, count, &forwarded);
    print_message("%s: %s\n", name, one->values[0]);
    assert_int_equal(forwarded.hop_count, one->hop_count);
    if (one->client == NULL)
        return;
    fg_ip_format(&forwarded.hops[forwarded.hop_count - 1], text);
    assert_string_equal(text, one->client);
    if (kind == FG_FORWARDED_RFC7239)
        assert_true(fg_span_equal(forwarded.scheme, fg_span_from_string(one->scheme)));
}

static void reads_x_forwarded_for(void **state)
{
    (void)state;
    static const struct forwarded_case cases[] = {
        {{"192.0.2.1"}, "192.0.2.1", 1, NULL},
        {{"192.0.2.1, 10.0.0.1"}, "192.0.2.1", 2, NULL},
        {{"6.6.6.6, 192.0.2.1,10.0.0.1 ,\t10.0.0.2"}, "192.0.2.1", 3, NULL}, /* 6.6.6.6 is forged */
        {{"6.6.6.6", "192.0.2.1", "10.0.0.1"}, "192.0.2.1", 2, NULL},
        {{"10.0.0.3, 10.0.0.1"}, "10.0.0.3", 2, NULL}, /* all are ours: the farthest */
        {{"192.0.2.1:4711"}, "192.0.2.1", 1, NULL},
        {{"2001:db8::5"}, "2001:db8::5", 1, NULL},
        {{"[2001:db8::5]:443"}, "2001:db8::5", 1, NULL},
        {{"192.0.2.1, 2001:db8:1::9"}, "192.0.2.1", 2, NULL},
        {{"::ffff:192.0.2.1"}, "192.0.2.1", 1, NULL},
        {{"192.0.2.1, unknown, 10.0.0.1"}, "10.0.0.1", 1, NULL}, /* nothing beyond is known */
        {{"unknown"}, NULL, 0, NULL},
        {{""}, NULL, 0, NULL},
        {{",, ,"}, NULL, 0, NULL},
        {{"192.0.2.1, ,"}, "192.0.2.1", 1, NULL},
        {{"1.2.3"}, NULL, 0, NULL},
        {{"[2001:db8::5"}, NULL, 0, NULL},
        {{"[2001:db8::5]6"}, NULL, 0, NULL},
        {{"192.0.2.1'; DROP"}, NULL, 0, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check(FG_FORWARDED_X, "x-forwarded-for", &cases[i]);
}

static void reads_forwarded(void **state)
{
    (void)state;
    static const struct forwarded_case cases[] = {
        {{"for=192.0.2.60;proto=http;by=203.0.113.43"}, "192.0.2.60", 1, "http"},
        {{"For=\"[2001:db8:cafe::17]:4711\""}, "2001:db8:cafe::17", 1, NULL},
        {{"for=6.6.6.6, for=192.0.2.43;proto=https, for=10.1.2.3;proto=http"},
         "192.0.2.43",
         2,
         "https"},
        {{"for=192.0.2.43", "for=10.1.2.3"}, "192.0.2.43", 2, NULL},
        {{"for=192.0.2.1, for=_hidden"}, NULL, 0, NULL},
        {{"for=192.0.2.1, for=unknown"}, NULL, 0, NULL},
        {{"proto=https"}, NULL, 0, NULL},
        {{"for=\"192.0.2.1, 10.0.0.1\""}, NULL, 0, NULL}, /* a comma inside quotes */
        /* what a proxy quotes is its client's Host */
        {{"for=192.0.2.1;host=\"a,for=6.6.6.6;x=\""}, "192.0.2.1", 1, NULL},
        {{"for=192.0.2.1;proto=http;host=\"a;for=6.6.6.6;proto=https;x=\""},
         "192.0.2.1",
         1,
         "http"},
        {{"for=192.0.2.1;x=\"a\\\",for=6.6.6.6;y=\\\\\";proto=http"}, "192.0.2.1", 1, "http"},
        /* what stands before a proxy's element is its client's, too */
        {{"for=\"6.6.6.6, for=192.0.2.1"}, "192.0.2.1", 1, NULL},
        {{"for=6.6.6.6;x=\", for=\"192.0.2.1\";host=\"a\""}, "192.0.2.1", 1, NULL},
        {{"x=\"\\, for=192.0.2.1;host=\"a\", for=10.0.0.1"}, "192.0.2.1", 2, NULL},
        {{"for=6.6.6.6;x=\"", "for=192.0.2.1;host=\"a\""}, "192.0.2.1", 1, NULL},
        {{"for=192.0.2.1;host=\"a"}, NULL, 0, NULL},
        {{"for=192.0.2.1;host=a;for=6.6.6.6"}, NULL, 0, NULL}, /* each once */
        {{";for=192.0.2.1;;proto=http;"}, "192.0.2.1", 1, "http"},
        {{"for=\"[2001:db8::5]6\""}, NULL, 0, NULL},
        {{"192.0.2.1"}, NULL, 0, NULL},
        {{"for = 192.0.2.1"}, NULL, 0, NULL}, /* no blanks around '=' */
        {{"PROTO=\"HTTPS\";FOR=\"192.0.2.1:_port\""}, "192.0.2.1", 1, "https"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check(FG_FORWARDED_RFC7239, "forwarded", &cases[i]);
}

static void does_not_walk_for_ever(void **state)
{
    (void)state;
    char text[2000];
    size_t at = 0;
    for (unsigned i = 0; i < 100; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "10.0.0.%u,", i);
    const struct fg_listener_conf conf = {.trusted_proxies = trusted, .trusted_proxy_count = 2};
    const struct fg_field field = {FG_SPAN("x-forwarded-for"), fg_span_make(text, at)};
    struct fg_forwarded forwarded;
    fg_forwarded_read(&conf, &field, 1, &forwarded);
    assert_int_equal(forwarded.hop_count, FG_FORWARDED_HOPS_MAX);
}

static void takes_the_nearest_scheme(void **state)
{
    (void)state;
    const struct fg_listener_conf conf = {.trusted_proxies = trusted, .trusted_proxy_count = 2};
    const struct fg_field fields[] = {{FG_SPAN("x-forwarded-proto"), FG_SPAN("http, HTTPS")},
                                      {FG_SPAN("x-forwarded-for"), FG_SPAN("192.0.2.1")}};
    struct fg_forwarded forwarded;
    fg_forwarded_read(&conf, fields, 2, &forwarded);
    assert_true(fg_span_equal(forwarded.scheme, FG_SPAN("https")));
    assert_true(fg_forwarded_is_field(FG_SPAN("x-forwarded-prefix")));
    assert_true(fg_forwarded_is_field(FG_SPAN("forwarded")));
    assert_false(fg_forwarded_is_field(FG_SPAN("x-forward")));
    assert_true(fg_forwarded_is_field(FG_SPAN("x-original-url")));
    assert_true(fg_forwarded_is_field(FG_SPAN("x-rewrite-url")));
    assert_false(fg_forwarded_is_field(FG_SPAN("x-original-uri")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_x_forwarded_for),
        cmocka_unit_test(reads_forwarded),
        cmocka_unit_test(does_not_walk_for_ever),
        cmocka_unit_test(takes_the_nearest_scheme),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
