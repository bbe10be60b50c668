/*
 * test_target.c: what a request target becomes, and what is refused.
 */
#include "http/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct fixture {
    struct fg_arena_pool pool;
    struct fg_arena arena;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fg_arena_pool_init(&fixture.pool, 16);
    fg_arena_init(&fixture.arena, &fixture.pool, 65536);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    fg_arena_fini(&fixture->arena);
    fg_arena_pool_fini(&fixture->pool);
    return 0;
}

static bool is_text(struct fg_span span, const char *text)
{
    return fg_span_equal(span, fg_span_from_string(text)) && (span.data == NULL) == (text == NULL);
}

static void normalises(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *raw;
        const char *path;
        const char *query;
    } cases[] = {
        {"/", "/", NULL},
        {"/a/b", "/a/b", NULL},
        {"/a/b/", "/a/b/", NULL},
        {"/a?", "/a", ""},
        {"/a?b=c", "/a", "b=c"},
        {"/a?b?c", "/a", "b?c"},
        {"/?x", "/", "x"},
        {"/a?%2f%00..//", "/a", "%2f%00..//"},
        {"/a?x=\\&y=<\">", "/a", "x=\\&y=<\">"},
        {"/a\"<>^`{|}?a\"<>^`{|}", "/a\"<>^`{|}", "a\"<>^`{|}"},
        {"//", "/", NULL},
        {"//a///b//", "/a/b/", NULL},
        {"/a/./b", "/a/b", NULL},
        {"/./a", "/a", NULL},
        {"/a/.", "/a/", NULL},
        {"/a/..", "/", NULL},
        {"/a/../", "/", NULL},
        {"/a/b/../c", "/a/c", NULL},
        {"/a/b/..", "/a/", NULL},
        {"/a/b/../..", "/", NULL},
        {"/a/b/../../c/", "/c/", NULL},
        {"/a/%2e%2e/b", "/b", NULL},
        {"/a/%2E/b", "/a/b", NULL},
        {"/a/.%2e/b", "/b", NULL},
        {"/a//../b", "/b", NULL},
        {"/...", "/...", NULL},
        {"/a/..b/.c/d..", "/a/..b/.c/d..", NULL},
        {"/%7Euser", "/~user", NULL},
        {"/%41%5a%30", "/AZ0", NULL},
        {"/a%20b", "/a%20b", NULL},
        {"/a%c3%a9", "/a%C3%A9", NULL},
        {"/a%3fb%23c", "/a%3Fb%23c", NULL},
        {"/%25%32%66", "/%252f", NULL},
        {"/a;b=c,d", "/a;b=c,d", NULL},
        {"/a/.../;/.b;c/..d;/.", "/a/.../;/.b;c/..d;/", NULL},
        {"/a/...;/...%3b/a..%3b", "/a/...;/...%3B/a..%3B", NULL},
        {"/a:b@c!$&'()*+=", "/a:b@c!$&'()*+=", NULL},
        {"/[x]{y}|z", "/[x]{y}|z", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_target target;
        struct fg_span raw = fg_span_from_string(cases[i].raw);
        print_message("%s\n", cases[i].raw);
        assert_int_equal(fg_target_parse(raw, FG_METHOD_GET, 0, &fixture->arena, &target), FG_OK);
        assert_true(is_text(target.path, cases[i].path));
        assert_true(is_text(target.query, cases[i].query));
        assert_null(target.authority.data);
        /* What is normal stays as it is. */
        struct fg_target again;
        assert_int_equal(fg_target_parse(target.path, FG_METHOD_GET, 0, &fixture->arena, &again),
                         FG_OK);
        assert_true(fg_span_equal(again.path, target.path));
    }
}

static void refuses(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bad[] = {
        "",
        "a",
        "a/b",
        "?x",
        "*",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a%5Cb",
        "/a%00",
        "/%0a",
        "/%1f",
        "/%7f",
        "/a\\b",
        "/a\x01",
        "/a b",
        "/a\tb",
        "/a\x7f",
        "/caf\xc3\xa9",
        "/%",
        "/%4",
        "/%4g",
        "/%zz",
        "/..",
        "/../",
        "/../a",
        "/a/../..",
        "/a/../../b",
        "/%2e%2e",
        "/./../a",
        "/a#b",
        "/a?b#c",
        "/a?b c",
        "/a?\x80",
        "ftp://h/",
        "http:/h/",
        "mailto:a@b",
        "//../x",
        "http://h/..",
        "/a/%2e%2e/%2e%2e/b",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/%2e%2e;/b",
        "/.;/a",
        "/a/.;",
        "/a/..%3b/b",
        "/a/%2e%2E%3Bx/b",
        "/.%3b",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fg_target target;
        print_message("%s\n", bad[i]);
        assert_int_equal(fg_target_parse(fg_span_from_string(bad[i]), FG_METHOD_GET, 0,
                                         &fixture->arena, &target),
                         FG_ERR_INVALID);
    }
}

/* Of each byte: whether it may stand in a path as it is. */
static void knows_every_byte(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    fg_arena_pool_init(&pool, 4);
    fg_arena_init(&arena, &pool, 4096);
    for (int c = 0; c < 256; c++) {
        const char text[] = {'/', 'a', (char)c, 'b'};
        struct fg_target target;
        /* '?' begins a query, and an escape needs its digits. */
        bool is_fine = c > 0x20 && c < 0x7f && c != '#' && c != '\\' && c != '%';
        enum fg_status status =
            fg_target_parse(fg_span_make(text, sizeof(text)), FG_METHOD_GET, 0, &arena, &target);
        assert_int_equal(status, is_fine ? FG_OK : FG_ERR_INVALID);
        assert_true(!is_fine || target.path.len == (c == '?' ? 2 : sizeof(text)));
    }
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
}

/* The last that is too long and the first that is not, of each length; and Latin-1. */
static void knows_overlong_forms(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *raw;
        bool is_refused;
    } cases[] = {
        {"/%c0%80", true},          {"/%c1%bf", true},          {"/%c2%80", false},
        {"/%e0%80%af", true},       {"/%e0%9f%bf", true},       {"/%e0%a0%80", false},
        {"/%f0%80%80%af", true},    {"/%f0%8f%bf%bf", true},    {"/%f0%90%80%80", false},
        {"/%f8%80%80%80%af", true}, {"/%f8%87%bf%bf%bf", true}, {"/%f8%88%80%80%80", false},
        {"/%fc%83%bf", true},       {"/%fc%84%80", false},      {"/%c0", false},
        {"/%c0-propos", false},     {"/%c0%20la", false},       {"/%e0a%80", false},
        {"/a?%c0%af", false},       {"/%c3%a4/%c0%ae", true},   {"/%c0%2", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_target target;
        struct fg_span raw = fg_span_from_string(cases[i].raw);
        enum fg_status status = fg_target_parse(raw, FG_METHOD_GET, 0, &fixture->arena, &target);
        assert_int_equal(status, cases[i].is_refused ? FG_ERR_INVALID : FG_OK);
    }
}

static void keeps_escapes_where_it_may(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *raw;
        unsigned kept;
        const char *path; /* NULL: refused */
    } cases[] = {
        {"/a%2fb%5C", FG_TARGET_KEEP_SLASH, "/a%2Fb%5C"},
        {"/a/..%2fb/%2e%2e/c", FG_TARGET_KEEP_SLASH, "/a/c"},
        {"/a%00", FG_TARGET_KEEP_SLASH, NULL},
        {"/a%00", FG_TARGET_KEEP_NUL, "/a%00"},
        {"/a%01", FG_TARGET_KEEP_NUL | FG_TARGET_KEEP_SLASH, NULL},
        {"/a%2f", FG_TARGET_KEEP_NUL, NULL},
        {"/a%c0%af", FG_TARGET_KEEP_OVERLONG, "/a%C0%AF"},
        {"/a%c0%af", FG_TARGET_KEEP_NUL | FG_TARGET_KEEP_SLASH, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_target target;
        struct fg_span raw = fg_span_from_string(cases[i].raw);
        enum fg_status status =
            fg_target_parse(raw, FG_METHOD_GET, cases[i].kept, &fixture->arena, &target);
        assert_int_equal(status, cases[i].path == NULL ? FG_ERR_INVALID : FG_OK);
        if (status == FG_OK)
            assert_true(is_text(target.path, cases[i].path));
    }
}

static void takes_the_absolute_form(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *raw;
        const char *scheme;
        const char *authority;
        const char *path;
        const char *query;
    } cases[] = {
        {"http://h/", "http", "h", "/", NULL},
        {"HTTPS://h:8443/a/../b?c", "https", "h:8443", "/b", "c"},
        {"http://h", "http", "h", "/", NULL},
        {"http://h?q", "http", "h", "/", "q"},
        {"http://u:p@h/", "http", "u:p@h", "/", NULL}, /* refused with the authority, later */
        {"http://[::1]:80/x", "http", "[::1]:80", "/x", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_target target;
        struct fg_span raw = fg_span_from_string(cases[i].raw);
        assert_int_equal(fg_target_parse(raw, FG_METHOD_GET, 0, &fixture->arena, &target), FG_OK);
        assert_true(is_text(target.scheme, cases[i].scheme));
        assert_true(is_text(target.authority, cases[i].authority));
        assert_true(is_text(target.path, cases[i].path));
        assert_true(is_text(target.query, cases[i].query));
    }
}

static void takes_the_asterisk_for_options_alone(void **state)
{
    struct fixture *fixture = *state;
    struct fg_target target;
    assert_int_equal(fg_target_parse(FG_SPAN("*"), FG_METHOD_OPTIONS, 0, &fixture->arena, &target),
                     FG_OK);
    assert_true(is_text(target.path, "*"));
    assert_int_equal(fg_target_parse(FG_SPAN("*"), FG_METHOD_HEAD, 0, &fixture->arena, &target),
                     FG_ERR_INVALID);
    static const struct {
        const char *raw;
        const char *path;
    } bare[] = {{"http://x", "*"}, {"http://x/", "/"}, {"http://x?q", "/"}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fg_target_parse(fg_span_from_string(bare[i].raw), FG_METHOD_OPTIONS, 0,
                                         &fixture->arena, &target),
                         FG_OK);
        assert_true(is_text(target.path, bare[i].path));
    }
}

static void says_when_memory_is_short(void **state)
{
    struct fixture *fixture = *state;
    struct fg_arena small;
    struct fg_target target;
    fg_arena_init(&small, &fixture->pool, 0);
    assert_int_equal(fg_target_parse(FG_SPAN("/a//b"), FG_METHOD_GET, 0, &small, &target),
                     FG_ERR_NO_MEMORY);
    assert_int_equal(fg_target_parse(FG_SPAN("/a/b"), FG_METHOD_GET, 0, &small, &target), FG_OK);
    fg_arena_fini(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(normalises, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses, set_up, tear_down),
        cmocka_unit_test(knows_every_byte),
        cmocka_unit_test_setup_teardown(knows_overlong_forms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_escapes_where_it_may, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_the_absolute_form, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_the_asterisk_for_options_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_when_memory_is_short, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
