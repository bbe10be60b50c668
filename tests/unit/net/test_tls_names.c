/*
 * test_tls_names.c: who gets which certificates.
 */
#include "net/tls_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

enum { RSA, EC };

static void add(struct fg_tls_names *names, unsigned index, unsigned type, const char *name)
{
    assert_int_equal(fg_tls_names_add(names, index, type, name), FG_OK);
}

static void expect(const struct fg_tls_names *names, const char *name, uint64_t having)
{
    assert_int_equal(fg_tls_names_find(names, fg_span_from_string(name)), having);
}

static void finds_exact_names_before_wildcards(void **state)
{
    (void)state;
    struct fg_tls_names names = {0};
    add(&names, 0, EC, "example.org");
    add(&names, 1, EC, "*.example.org");
    add(&names, 2, EC, "shop.example.org");
    fg_tls_names_complete(&names);
    expect(&names, "example.org", 1 << 0);
    expect(&names, "EXAMPLE.org", 1 << 0);
    expect(&names, "example.org.", 1 << 0);
    expect(&names, "shop.example.org", 1 << 2);
    expect(&names, "other.example.org", 1 << 1);
    expect(&names, "a.b.example.org", 0); /* a wildcard is one label */
    expect(&names, ".example.org", 0);
    expect(&names, "*.example.org", 0); /* nobody's name */
    expect(&names, "example.net", 0);
    expect(&names, "org", 0);
    expect(&names, "", 0);
    expect(&names, ".", 0);
    fg_tls_names_fini(&names);
}

static void puts_key_types_side_by_side(void **state)
{
    (void)state;
    struct fg_tls_names names = {0};
    add(&names, 0, EC, "example.org");
    add(&names, 1, RSA, "example.org");
    add(&names, 2, EC, "example.org"); /* the first of a type has the name */
    add(&names, 2, EC, "*.example.org");
    add(&names, 3, RSA, "*.example.org");
    fg_tls_names_complete(&names);
    expect(&names, "example.org", 3);
    expect(&names, "a.example.org", 1 << 2 | 1 << 3);
    fg_tls_names_fini(&names);
}

static void lives_with_many_and_with_none(void **state)
{
    (void)state;
    struct fg_tls_names names = {0};
    expect(&names, "example.org", 0);
    fg_tls_names_complete(&names);
    expect(&names, "example.org", 0);
    char name[32];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "h%u.example.org", i * 7919 % 1000);
        add(&names, i % 64, EC, name);
    }
    fg_tls_names_complete(&names);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "H%u.Example.org", i * 7919 % 1000);
        expect(&names, name, UINT64_C(1) << i % 64);
    }
    char huge[400];
    memset(huge, 'a', sizeof(huge));
    assert_int_equal(fg_tls_names_find(&names, fg_span_make(huge, sizeof(huge))), 0);
    fg_tls_names_fini(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_exact_names_before_wildcards),
        cmocka_unit_test(puts_key_types_side_by_side),
        cmocka_unit_test(lives_with_many_and_with_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
