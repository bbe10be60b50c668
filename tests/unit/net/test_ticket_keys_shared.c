/*
 * test_ticket_keys_shared.c: gateways that never spoke to each other read each other's tickets, for
 * as long as they should.
 */
#include "net/ticket_keys_shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define ROTATE_S 100
#define NOW_S UINT64_C(1000000)

static const char secret[] = "0123456789abcdef0123456789abcdef";
static const char other[] = "fedcba9876543210fedcba9876543210";

static struct fg_ticket_keys *make(const char *from)
{
    struct fg_ticket_keys *keys = fg_ticket_keys_create(ROTATE_S);
    assert_non_null(keys);
    if (from != NULL)
        fg_ticket_keys_set_secret(keys, from, strlen(from));
    return keys;
}

static enum fg_ticket_key_age age_at(struct fg_ticket_keys *keys, uint64_t now_s,
                                     const struct fg_ticket_key *key)
{
    struct fg_ticket_key found;
    enum fg_ticket_key_age age = fg_ticket_keys_find(keys, now_s, key->name, &found);
    if (age != FG_TICKET_KEY_UNKNOWN)
        assert_memory_equal(&found, key, sizeof(found));
    return age;
}

static void agrees_over_gateways_and_rotates(void **state)
{
    (void)state;
    struct fg_ticket_keys *one = make(secret);
    struct fg_ticket_keys *two = make(secret);
    struct fg_ticket_key key, next;
    assert_true(fg_ticket_keys_current(one, NOW_S, &key));
    assert_int_equal(age_at(two, NOW_S, &key), FG_TICKET_KEY_CURRENT);
    assert_int_equal(age_at(two, NOW_S + ROTATE_S - 1, &key), FG_TICKET_KEY_CURRENT);
    assert_int_equal(age_at(two, NOW_S + ROTATE_S, &key), FG_TICKET_KEY_OLD);
    assert_int_equal(age_at(two, NOW_S + 2 * ROTATE_S - 1, &key), FG_TICKET_KEY_OLD);
    assert_int_equal(age_at(two, NOW_S + 2 * ROTATE_S, &key), FG_TICKET_KEY_UNKNOWN);
    /* A gateway whose clock is behind. */
    assert_int_equal(age_at(two, NOW_S - 1, &key), FG_TICKET_KEY_CURRENT);
    assert_int_equal(age_at(two, NOW_S - ROTATE_S - 1, &key), FG_TICKET_KEY_UNKNOWN);
    assert_true(fg_ticket_keys_current(one, NOW_S + ROTATE_S, &next));
    assert_memory_not_equal(next.name, key.name, sizeof(key.name));
    assert_memory_not_equal(next.cipher, key.cipher, sizeof(key.cipher));
    assert_memory_not_equal(key.mac, key.cipher, sizeof(key.cipher));
    fg_ticket_keys_destroy(one);
    fg_ticket_keys_destroy(two);
}

static void keeps_the_secret_before_for_reading(void **state)
{
    (void)state;
    struct fg_ticket_keys *keys = make(secret);
    struct fg_ticket_key before, after;
    assert_true(fg_ticket_keys_current(keys, NOW_S, &before));
    fg_ticket_keys_set_secret(keys, other, strlen(other));
    assert_true(fg_ticket_keys_current(keys, NOW_S, &after));
    assert_memory_not_equal(after.name, before.name, sizeof(before.name));
    assert_int_equal(age_at(keys, NOW_S, &before), FG_TICKET_KEY_OLD);
    assert_int_equal(age_at(keys, NOW_S, &after), FG_TICKET_KEY_CURRENT);
    fg_ticket_keys_set_secret(keys, other, strlen(other)); /* the same again changes nothing */
    assert_int_equal(age_at(keys, NOW_S, &before), FG_TICKET_KEY_OLD);
    fg_ticket_keys_destroy(keys);
}

static void gives_nothing_without_a_secret(void **state)
{
    (void)state;
    struct fg_ticket_keys *keys = make(NULL);
    struct fg_ticket_keys *stranger = make(other);
    struct fg_ticket_key key;
    assert_false(fg_ticket_keys_current(keys, NOW_S, &key));
    assert_true(fg_ticket_keys_current(stranger, NOW_S, &key));
    assert_int_equal(age_at(keys, NOW_S, &key), FG_TICKET_KEY_UNKNOWN);
    fg_ticket_keys_destroy(keys);
    fg_ticket_keys_destroy(stranger);
    fg_ticket_keys_destroy(NULL);
}

static void leaves_its_secrets_to_the_next(void **state)
{
    (void)state;
    struct fg_ticket_memory *memory = fg_ticket_memory_create();
    struct fg_ticket_keys *first = make(NULL);
    struct fg_ticket_key before, after;
    assert_non_null(memory);
    fg_ticket_keys_keep(first, memory);
    assert_false(fg_ticket_keys_are_set(first));
    fg_ticket_keys_set_secret(first, secret, strlen(secret));
    assert_true(fg_ticket_keys_current(first, NOW_S, &before));
    struct fg_ticket_keys *second = make(NULL);
    fg_ticket_keys_keep(second, memory);
    assert_true(fg_ticket_keys_are_set(second));
    assert_int_equal(age_at(second, NOW_S, &before), FG_TICKET_KEY_CURRENT);
    fg_ticket_keys_set_secret(second, other, strlen(other));
    assert_true(fg_ticket_keys_current(second, NOW_S, &after));
    fg_ticket_keys_destroy(first);
    fg_ticket_keys_destroy(second);
    struct fg_ticket_keys *third = make(NULL);
    fg_ticket_keys_keep(third, memory);
    fg_ticket_keys_set_secret(third, other, strlen(other)); /* the same again changes nothing */
    assert_int_equal(age_at(third, NOW_S, &before), FG_TICKET_KEY_OLD);
    assert_int_equal(age_at(third, NOW_S, &after), FG_TICKET_KEY_CURRENT);
    fg_ticket_keys_destroy(third);
    fg_ticket_memory_destroy(memory);
    fg_ticket_memory_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_over_gateways_and_rotates),
        cmocka_unit_test(keeps_the_secret_before_for_reading),
        cmocka_unit_test(gives_nothing_without_a_secret),
        cmocka_unit_test(leaves_its_secrets_to_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
