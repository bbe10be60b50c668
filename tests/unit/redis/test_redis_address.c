/*
 * test_redis_address.c: forms of addresses, right and wrong.
 */
#include "redis/redis_address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static enum fg_status parse(const char *text, struct fg_redis_address *address)
{
    struct fg_redis_conf conf = {.address = text};
    struct fg_error error = {.file = ""};
    enum fg_status status = fg_redis_address(&conf, address, &error);
    if (status != FG_OK)
        assert_true(strlen(error.message) > 0);
    return status;
}

static void understands_every_form(void **state)
{
    struct fg_redis_address a;
    char text[300];
    (void)state;
    assert_int_equal(parse("redis.internal:6380", &a), FG_OK);
    assert_string_equal(a.host, "redis.internal");
    assert_int_equal(a.port, 6380);
    assert_int_equal(parse("[::1]:7000", &a), FG_OK);
    assert_string_equal(a.host, "::1");
    assert_int_equal(a.port, 7000);
    assert_int_equal(parse("localhost", &a), FG_OK);
    assert_int_equal(a.port, 6379);
    assert_int_equal(parse("unix:/run/redis.sock", &a), FG_OK);
    assert_true(a.is_unix);
    assert_string_equal(fg_redis_address_text(&a, text, sizeof(text)), "unix:/run/redis.sock");
}

static void refuses_what_cannot_work(void **state)
{
    struct fg_redis_address a;
    char longer[200] = "unix:";
    (void)state;
    assert_int_not_equal(parse(NULL, &a), FG_OK);
    assert_int_not_equal(parse("", &a), FG_OK);
    assert_int_not_equal(parse(":6379", &a), FG_OK);
    assert_int_not_equal(parse("host:0", &a), FG_OK);
    assert_int_not_equal(parse("host:65536", &a), FG_OK);
    assert_int_not_equal(parse("host:port", &a), FG_OK);
    memset(longer + 5, 'x', 108);
    assert_int_not_equal(parse(longer, &a), FG_OK); /* with its NUL one byte too long */
    longer[5 + 107] = '\0';
    assert_int_equal(parse(longer, &a), FG_OK);
}

static void the_embedded_one_lives_in_its_directory(void **state)
{
    struct fg_redis_conf conf = {.embedded = true, .directory = "/var/lib/fg"};
    struct fg_redis_address a;
    struct fg_error error = {.file = ""};
    (void)state;
    assert_int_equal(fg_redis_address(&conf, &a, &error), FG_OK);
    assert_string_equal(a.path, "/var/lib/fg/redis.sock");
    conf.directory = NULL;
    assert_int_not_equal(fg_redis_address(&conf, &a, &error), FG_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(understands_every_form),
        cmocka_unit_test(refuses_what_cannot_work),
        cmocka_unit_test(the_embedded_one_lives_in_its_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
