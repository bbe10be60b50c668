/*
 * test_environment.c: references to the environment, and what is none.
 */
#include "config/environment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct fg_arena_pool pool;
static struct fg_arena arena;

static int set_up(void **state)
{
    (void)state;
    fg_arena_pool_init(&pool, 64);
    fg_arena_init(&arena, &pool, 1 << 20);
    setenv("FG_TEST_A", "one", 1);
    setenv("FG_TEST_EMPTY", "", 1);
    setenv("FG_TEST_NESTED", "${FG_TEST_A}", 1);
    unsetenv("FG_TEST_UNSET");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
    return 0;
}

static void expands_to(const char *text, const char *expected)
{
    struct fg_span out;
    struct fg_span culprit;
    print_message("%s\n", text);
    assert_int_equal(fg_environment_expand(&arena, fg_span_from_string(text), &out, &culprit),
                     FG_ENVIRONMENT_OK);
    assert_string_equal(out.data, expected);
    assert_int_equal(out.len, strlen(expected));
}

static void expands(void **state)
{
    (void)state;
    expands_to("", "");
    expands_to("plain", "plain");
    expands_to("$", "$");
    expands_to("$FG_TEST_A", "$FG_TEST_A");
    expands_to("a$b{c}", "a$b{c}");
    expands_to("${FG_TEST_A}", "one");
    expands_to("<${FG_TEST_A}${FG_TEST_A}>", "<oneone>");
    expands_to("${FG_TEST_A:-two}", "one");
    expands_to("${FG_TEST_UNSET:-two}", "two");
    expands_to("${FG_TEST_UNSET:-}", "");
    expands_to("${FG_TEST_UNSET:-a:-b}", "a:-b");
    expands_to("${FG_TEST_EMPTY}", "");
    expands_to("${FG_TEST_EMPTY:-two}", ""); /* set, to nothing */
    expands_to("$${FG_TEST_A}", "${FG_TEST_A}");
    expands_to("$$${FG_TEST_A}", "$${FG_TEST_A}");
    expands_to("${FG_TEST_NESTED}", "${FG_TEST_A}"); /* once */
}

static void fails_with(const char *text, enum fg_environment_result expected, const char *culprit)
{
    struct fg_span out;
    struct fg_span wrong = {NULL, 0};
    print_message("%s\n", text);
    assert_int_equal(fg_environment_expand(&arena, fg_span_from_string(text), &out, &wrong),
                     expected);
    assert_int_equal(wrong.len, strlen(culprit));
    assert_memory_equal(wrong.data, culprit, wrong.len);
}

static void refuses_what_is_no_reference(void **state)
{
    (void)state;
    fails_with("a ${FG_TEST_UNSET} b", FG_ENVIRONMENT_UNKNOWN, "FG_TEST_UNSET");
    fails_with("a ${FG_TEST_A", FG_ENVIRONMENT_SYNTAX, "${FG_TEST_A");
    fails_with("${FG TEST}", FG_ENVIRONMENT_SYNTAX, "FG TEST");
    fails_with("${1A}", FG_ENVIRONMENT_SYNTAX, "1A");
    fails_with("${:-x}", FG_ENVIRONMENT_SYNTAX, ":-x");
    fails_with("a${}b", FG_ENVIRONMENT_SYNTAX, "");
}

static void bounds_the_result(void **state)
{
    (void)state;
    char value[FG_ENVIRONMENT_VALUE_MAX / 2 + 2];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    setenv("FG_TEST_LONG", value, 1);
    struct fg_span out;
    struct fg_span culprit;
    assert_int_equal(
        fg_environment_expand(&arena, FG_SPAN("${FG_TEST_LONG}${FG_TEST_LONG}"), &out, &culprit),
        FG_ENVIRONMENT_TOO_LONG);
    struct fg_arena small;
    fg_arena_init(&small, &pool, 64);
    assert_int_equal(fg_environment_expand(&small, FG_SPAN("${FG_TEST_LONG}"), &out, &culprit),
                     FG_ENVIRONMENT_NO_MEMORY);
    fg_arena_fini(&small);
    unsetenv("FG_TEST_LONG");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(expands, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_reference, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bounds_the_result, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
