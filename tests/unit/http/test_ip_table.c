/*
 * test_ip_table.c: counts by client address against a plain array.
 */
#include "net/ip_table.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static struct fg_ip_key key_of(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return fg_ip_key_of((const struct sockaddr *)&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return fg_ip_key_of((const struct sockaddr *)&v6);
}

static bool is_same(const char *a, const char *b)
{
    struct fg_ip_key x = key_of(a);
    struct fg_ip_key y = key_of(b);
    return x.high == y.high && x.low == y.low;
}

static void names_clients(void **state)
{
    (void)state;
    assert_true(is_same("192.0.2.1", "::ffff:192.0.2.1"));
    assert_false(is_same("192.0.2.1", "192.0.2.2"));
    assert_true(is_same("2001:db8:1:2::1", "2001:db8:1:2:ffff::"));
    assert_false(is_same("2001:db8:1:2::1", "2001:db8:1:3::1"));
}

static void counts_as_an_array_would(void **state)
{
    (void)state;
    struct fg_ip_table table;
    unsigned counts[200] = {0};
    unsigned seed = 1;
    size_t total = 0;
    size_t excess = 0; /* above one each */
    assert_int_equal(fg_ip_table_init(&table, 256, 1, 99), FG_OK);
    for (unsigned round = 0; round < 100000; round++) {
        seed = seed * 1103515245u + 12345u;
        unsigned which = (seed >> 8) % 200;
        struct fg_ip_key key = {which % 3, which};
        bool is_adding = (seed >> 20) % 2 == 0;
        if (is_adding) {
            bool is_added = fg_ip_table_try_add(&table, key, 3);
            assert_int_equal(is_added, counts[which] < 3);
            excess += is_added && counts[which] >= 1;
            counts[which] += is_added;
            total += is_added;
        } else if (counts[which] > 0) {
            fg_ip_table_remove(&table, key);
            counts[which]--;
            excess -= counts[which] >= 1;
            total--;
        }
        assert_int_equal(fg_ip_table_count(&table, key), counts[which]);
        assert_int_equal(table.excess, excess);
    }
    assert_true(total > 0);
    for (unsigned which = 0; which < 200; which++) {
        for (; counts[which] > 0; counts[which]--)
            fg_ip_table_remove(&table, (struct fg_ip_key){which % 3, which});
    }
    assert_int_equal(table.used, 0);
    assert_int_equal(table.excess, 0);
    fg_ip_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_clients),
        cmocka_unit_test(counts_as_an_array_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
