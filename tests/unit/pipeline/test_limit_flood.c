/*
 * test_limit_flood.c: ten million invented keys against a table of a thousand: it stays as large as
 * it is, nobody's limit begins anew, and a count that is shared hears nothing of them.
 */
#include "base/clock.h"
#include "pipeline/rate_table_shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define FLOOD 10000000u

static const struct fg_limit_part by_user = {.kind = FG_LIMIT_BY_USER};

static struct fg_rate_table *table;
static uint64_t questions;

static bool take(uint64_t number, uint64_t now_ns, uint64_t cost)
{
    struct fg_limit_key key;
    struct fg_limit_verdict verdict;
    struct fg_lease_question question;
    fg_siphash_128(fg_rate_table_secret(table), &number, sizeof(number), &key.hi, &key.lo);
    bool allowed = fg_rate_table_try_take(table, key, now_ns, cost, &verdict, &question);
    questions += question.is_due;
    return allowed;
}

static void flood(enum fg_limit_scope scope, uint64_t count)
{
    enum { USERS = 40 };
    const struct fg_rate_limit_conf conf = {.name = "t",
                                            .parts = &by_user,
                                            .part_count = 1,
                                            .rate = {1, 3600 * FG_S},
                                            .burst = 5,
                                            .keys_max = 1000,
                                            .scope = scope,
                                            .lease = 5,
                                            .local_share_permille = 1000};
    questions = 0;
    table = fg_rate_table_create(&conf);
    assert_true(take(FLOOD, 0, 5)); /* the attacker's own, drained */
    for (uint64_t i = 1; i <= USERS; i++)
        assert_true(take(FLOOD + i, 0, 2)); /* users who have had more than a passer-by */
    for (uint64_t i = 0; i < count; i++)
        (void)take(i, i, 1);
    assert_int_equal(questions, 0);
    assert_false(take(FLOOD, FLOOD, 1));
    for (uint64_t i = 1; i <= USERS; i++)
        assert_false(take(FLOOD + i, FLOOD, 4));
    struct fg_rate_table_stats stats = fg_rate_table_stats(table);
    assert_true(stats.entries <= 1000 + 16 * 8 * 2);
    assert_true(stats.evictions > count - 2000);
    fg_rate_table_destroy(table);
}

static void ten_million_keys_neither_grow_it_nor_reset_anybody(void **state)
{
    (void)state;
    flood(FG_LIMIT_LOCAL, FLOOD);
    flood(FG_LIMIT_GLOBAL, FLOOD / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_million_keys_neither_grow_it_nor_reset_anybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
