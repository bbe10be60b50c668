/*
 * test_admin_query.c: words are cut before they are decoded; what decodes to no text is bad; paths
 * come out as cache keys have them.
 */
#include "admin/admin_query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static struct fg_arena_pool pool;
static struct fg_arena arena;

static int open_arena(void **state)
{
    (void)state;
    fg_arena_pool_init(&pool, 4);
    fg_arena_init(&arena, &pool, 65536);
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
    return 0;
}

static struct fg_admin_query begin(const char *text)
{
    struct fg_exchange ex = {.arena = &arena};
    struct fg_admin_query query;
    if (text != NULL)
        ex.query = fg_span_from_string(text);
    fg_admin_query_init(&query, &ex);
    return query;
}

static void expect(struct fg_admin_query *query, const char *name, const char *value)
{
    struct fg_span got_name, got_value;
    assert_true(fg_admin_query_next(query, &got_name, &got_value));
    assert_true(fg_span_equal(got_name, fg_span_from_string(name)));
    if (value == NULL)
        assert_null(got_value.data);
    else
        assert_true(fg_span_equal(got_value, fg_span_from_string(value)));
}

static void expect_end(struct fg_admin_query *query, bool is_bad)
{
    struct fg_span name, value;
    assert_false(fg_admin_query_next(query, &name, &value));
    assert_int_equal(query->is_bad, is_bad);
    assert_false(fg_admin_query_next(query, &name, &value));
}

static void cuts_before_it_decodes(void **state)
{
    (void)state;
    struct fg_admin_query query = begin("a=b&c%3Dd=e%26f%3d+g&word&%61==&x=");
    expect(&query, "a", "b");
    expect(&query, "c=d", "e&f=+g");
    expect(&query, "word", NULL);
    expect(&query, "a", "=");
    expect(&query, "x", "");
    expect_end(&query, false);
    query = begin(NULL);
    expect_end(&query, false);
    query = begin("caf%C3%a9=%25%20");
    expect(&query, "caf\xc3\xa9", "% ");
    expect_end(&query, false);
}

static void refuses_what_is_no_text(void **state)
{
    (void)state;
    static const char *const bad[] = {"a=%",   "a=%4",  "a=%4g", "a=%g4",   "a=%00",  "a=%0a",
                                      "a=%1f", "a=%7F", "%=a",   "a=b%2&c", "a=%%41", "a=% 41"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fg_admin_query query = begin(bad[i]);
        expect_end(&query, true);
    }
    struct fg_admin_query query = begin("a=b&c=%zz&d=e");
    expect(&query, "a", "b");
    expect_end(&query, true);
}

static void writes_paths_as_keys_have_them(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"/a/b", "/a/b"},
                                           {"/a b", "/a%20b"},
                                           {"/a%20b", "/a%20b"},
                                           {"/caf\xc3\xa9", "/caf%C3%A9"},
                                           {"/a#b\\c", "/a%23b%5Cc"},
                                           {"/a?b=c d", "/a?b=c%20d"},
                                           {"", ""}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_span path = fg_admin_query_path(&arena, fg_span_from_string(cases[i][0]));
        assert_non_null(path.data);
        assert_true(fg_span_equal(path, fg_span_from_string(cases[i][1])));
    }
}

static void is_bad_without_memory(void **state)
{
    (void)state;
    struct fg_arena none;
    fg_arena_init(&none, &pool, 0);
    struct fg_exchange ex = {.arena = &none, .query = FG_SPAN("a=b&c=%41")};
    struct fg_admin_query query;
    fg_admin_query_init(&query, &ex);
    expect(&query, "a", "b"); /* needs none */
    expect_end(&query, true);
    assert_null(fg_admin_query_path(&none, FG_SPAN("/a")).data);
    fg_arena_fini(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_before_it_decodes),
        cmocka_unit_test(refuses_what_is_no_text),
        cmocka_unit_test(writes_paths_as_keys_have_them),
        cmocka_unit_test(is_bad_without_memory),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
