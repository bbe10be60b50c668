/*
 * test_flood_ledger_shared.c: all threads see one debt, and nothing of it is lost between them.
 */
#include "net/flood_ledger_shared.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define THREADS 4
#define EACH 500
#define S UINT64_C(1000000000)

static void *add_all(void *arg)
{
    for (unsigned i = 0; i < EACH; i++) {
        fg_flood_ledger_add(arg, 7, 1, S);                       /* all the same */
        fg_flood_ledger_add(arg, (uint64_t)(i % 8) << 61, 1, S); /* one in each shard */
        (void)fg_flood_ledger_owed(arg, (uint64_t)i << 56, S);
    }
    return NULL;
}

static void debts_are_the_gateways(void **state)
{
    (void)state;
    struct fg_flood_ledger *ledger = fg_flood_ledger_create(100, 1000000);
    pthread_t threads[THREADS];
    assert_non_null(ledger);
    assert_int_equal(fg_flood_ledger_owed(ledger, 7, S), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_all, ledger), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(fg_flood_ledger_owed(ledger, 7, S), THREADS * EACH);
    uint64_t owed = 0;
    for (uint64_t i = 0; i < 8; i++)
        owed += fg_flood_ledger_owed(ledger, i << 61, S);
    assert_int_equal(owed, THREADS * EACH);
    assert_int_equal(fg_flood_ledger_owed(ledger, 7, 6 * S), THREADS * EACH - 500);
    fg_flood_ledger_destroy(ledger);
}

static void the_law_holds_for_all_of_it(void **state)
{
    (void)state;
    struct fg_flood_ledger *ledger = fg_flood_ledger_create(100, 1000);
    assert_non_null(ledger);
    fg_flood_ledger_add(ledger, 1, 5000, S);
    assert_int_equal(fg_flood_ledger_owed(ledger, 1, S), 1000);
    fg_flood_ledger_set_law(ledger, 0, 4000);
    fg_flood_ledger_add(ledger, UINT64_MAX, 5000, S);
    assert_int_equal(fg_flood_ledger_owed(ledger, UINT64_MAX, 100 * S), 4000);
    fg_flood_ledger_destroy(ledger);
    fg_flood_ledger_destroy(NULL);
}

static void seeds_differ(void **state)
{
    (void)state;
    struct fg_flood_ledger *one = fg_flood_ledger_create(1, 1),
                           *other = fg_flood_ledger_create(1, 1);
    assert_true(one != NULL && other != NULL);
    assert_int_not_equal(fg_flood_ledger_seed(one), fg_flood_ledger_seed(other));
    fg_flood_ledger_destroy(one);
    fg_flood_ledger_destroy(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(debts_are_the_gateways),
                                       cmocka_unit_test(the_law_holds_for_all_of_it),
                                       cmocka_unit_test(seeds_differ)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
