/*
 * test_text_checks.c: the small grammars, by good and bad examples.
 */
#include "config/text_checks.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void run(fg_text_check_fn check, const char *const *good, const char *const *bad)
{
    for (; *good != NULL; good++) {
        print_message("good: %s\n", *good);
        assert_null(check(fg_span_from_string(*good)));
    }
    for (; *bad != NULL; bad++) {
        print_message("bad: %s\n", *bad);
        const char *problem = check(fg_span_from_string(*bad));
        assert_non_null(problem);
        assert_non_null(strstr(problem, "; expected "));
    }
}

static void listen_addresses(void **state)
{
    (void)state;
    static const char *const good[] = {"0.0.0.0:8443", "127.0.0.1:1",       "[::]:65535",
                                       "[::1]:80",     "[2001:db8::1]:443", NULL};
    static const char *const bad[] = {"",
                                      ":80",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:0",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:000080",
                                      "127.0.0.1:80x",
                                      "127.0.0.256:80",
                                      "127.1:80",
                                      "localhost:80",
                                      "::1:80",
                                      "[::1]",
                                      "[::1",
                                      "[127.0.0.1]:80",
                                      "[::1]x:80",
                                      "[]:80",
                                      "*:80",
                                      NULL};
    run(fg_text_check_listen_address, good, bad);
    struct sockaddr_in6 a;
    struct sockaddr_in6 b;
    fg_text_to_socket_address(FG_SPAN("[::1]:80"), &a);
    fg_text_to_socket_address(FG_SPAN("[0:0::1]:080"), &b);
    assert_memory_equal(&a, &b, sizeof(a));
}

static void upstream_addresses(void **state)
{
    (void)state;
    static const char *const good[] = {
        "127.0.0.1:80",        "a:1", "redis.internal:6379", "[::1]:80", "unix:/a",
        "x_y-z.example:65535", NULL};
    static const char *const bad[] = {
        "",         "a",     "a:",       ":80", "a:0",    "a b:80", "-a:80", "a..b:1",
        "http://a", "unix:", "unix:a/b", "::1", "a:b:80", "unix:/", NULL};
    run(fg_text_check_upstream_address, good, bad);
    char path[128] = "unix:/";
    memset(path + 6, 'a', 106);
    assert_null(fg_text_check_upstream_address(fg_span_make(path, 5 + 107)));
    assert_non_null(fg_text_check_upstream_address(fg_span_make(path, 5 + 108)));
}

static void hosts(void **state)
{
    (void)state;
    static const char *const good_authority[] = {"example.org", "example.org:8443", "127.0.0.1:1",
                                                 "[::1]:2", NULL};
    static const char *const bad_authority[] = {"", "a:", "a/b", "a b", "https://a", "a:x", NULL};
    run(fg_text_check_authority, good_authority, bad_authority);
    static const char *const good_host[] = {"example.org", "*.example.org", "10.0.0.1", "[::1]",
                                            NULL};
    static const char *const bad_host[] = {"", "*", "*.", "a.*.b", "a:80", "*example.org", NULL};
    run(fg_text_check_host_pattern, good_host, bad_host);
}

static void paths(void **state)
{
    (void)state;
    static const char *const good[] = {"/", "/a", "/a/", "/a/b.c", "/v1/~x:y@z", "/\xc3\xa4", NULL};
    static const char *const bad[] = {"",    "a",    "//",   "/a//b", "/a/./b", "/..",   "/a?b",
                                      "/#a", "/a b", "/%41", "/a\\b", "/a\x01", "/a/..", NULL};
    run(fg_text_check_url_path, good, bad);
    static const char *const good_target[] = {"/", "/promo/?a=b#c", "https://a.b/c?d", "http://a",
                                              NULL};
    static const char *const bad_target[] = {"",     "promo",   "//evil", "ftp://a",
                                             "/a b", "/a\r\nb", "/\"",    NULL};
    run(fg_text_check_redirect_target, good_target, bad_target);
}

static void fields_and_names(void **state)
{
    (void)state;
    static const char *const good_value[] = {"a", "public, max-age=60", "a\tb", "\xff", NULL};
    static const char *const bad_value[] = {"", " a", "a ", "a\r\nb", "a\x7f", NULL};
    run(fg_text_check_field_value, good_value, bad_value);
    static const char *const good_name[] = {"x-a", "ETag", "a1", "!", NULL};
    static const char *const bad_name[] = {"", "a b", "a:", "a\n", "(a)", NULL};
    run(fg_text_check_field_name, good_name, bad_name);
    static const char *const good[] = {"a", "milk-tea", "A.b_c~1", NULL};
    static const char *const bad[] = {
        "",
        "a b",
        "a/b",
        "\xc3\xa4",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        NULL};
    run(fg_text_check_name, good, bad);
    static const char *const good_label[] = {"/promo/", "a:b", "chat", NULL};
    static const char *const bad_label[] = {"", "a b", "a\"b", "a'b", NULL};
    run(fg_text_check_label, good_label, bad_label);
    static const char *const good_file[] = {"index.html", "a b", NULL};
    static const char *const bad_file[] = {"", "a/b", ".", "..", ".git", NULL};
    run(fg_text_check_file_name, good_file, bad_file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listen_addresses),
        cmocka_unit_test(upstream_addresses),
        cmocka_unit_test(hosts),
        cmocka_unit_test(paths),
        cmocka_unit_test(fields_and_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
