/*
 * test_flood_ledger_shared.c: all threads see one debt, and nothing of it is lost between them.
 */
#include "net/flood_ledger_shared.h"

#include "policies/flood_debt.h"

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

static void *admit_all(void *arg)
{
    const struct fg_flood_pace pace = {.free = 10, .interval_ns = 100, .wait_max_ns = 99999};
    uintptr_t admitted = 0;
    for (unsigned i = 0; i < EACH; i++) {
        uint64_t wait_ns;
        admitted += fg_flood_ledger_admit(arg, 7, &pace, S, &wait_ns);
    }
    return (void *)admitted;
}

static void all_threads_wait_in_one_line(void **state)
{
    (void)state;
    struct fg_flood_ledger *ledger = fg_flood_ledger_create(100, 1000);
    pthread_t threads[THREADS];
    uintptr_t admitted = 0;
    assert_non_null(ledger);
    assert_ptr_equal(admit_all(ledger), (void *)(uintptr_t)EACH); /* it owes nothing */
    fg_flood_ledger_add(ledger, 7, 1000, S);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, admit_all, ledger), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        void *of_one;
        pthread_join(threads[i], &of_one);
        admitted += (uintptr_t)of_one;
    }
    assert_int_equal(admitted, 1000); /* 99999 / 100, and who does not wait */
    fg_flood_ledger_destroy(ledger);
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(debts_are_the_gateways), cmocka_unit_test(the_law_holds_for_all_of_it),
        cmocka_unit_test(all_threads_wait_in_one_line), cmocka_unit_test(seeds_differ)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
