/*
 * test_endpoint_file.c: lines that are endpoints, and lines that are mistakes.
 */
#include "proxy/endpoint_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static bool parse(struct fg_endpoint_file_content *content, const char *text,
                  struct fg_error *error)
{
    return fg_endpoint_file_parse(content, fg_span_from_string(text), 3, error);
}

static void lines_are_endpoints(void **state)
{
    (void)state;
    struct fg_endpoint_file_content content;
    struct fg_error error;
    assert_true(parse(&content,
                      "# all of them\n\n  10.0.0.1:80\r\n[::1]:81 \tweight=7 priority=2 # mine\n"
                      "unix:/run/x.sock weight=1000",
                      &error));
    assert_int_equal(content.count, 3);
    assert_false(content.has_names);
    assert_string_equal(content.specs[0].name, "10.0.0.1:80");
    assert_int_equal(content.specs[0].weight, 1);
    assert_int_equal(content.specs[1].weight, 7);
    assert_int_equal(content.specs[1].priority, 2);
    assert_int_equal(content.specs[2].address.storage.ss_family, AF_UNIX);
    free(content.specs);
    assert_true(parse(&content, "", &error));
    assert_int_equal(content.count, 0);
    free(content.specs);
}

static void mistakes_are_told_with_their_line(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "10.0.0.1:80\nnonsense",
        "10.0.0.1:80\n10.0.0.1",
        "10.0.0.1:80\n1.2.3.4:5 w=1",
        "10.0.0.1:80\n1.2.3.4:5 weight=0",
        "\n1.2.3.4:5 weight=1001",
        "\n1.2.3.4:5 priority=8",
        "\n1.2.3.4:5 weight",
        "\n1.2.3.4:5 6.7.8.9:10",
        "\n1.2.3.4:99999",
        "#\nunix:relative",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fg_endpoint_file_content content;
        struct fg_error error = {.message = ""};
        assert_false(parse(&content, bad[i], &error));
        assert_int_equal(error.line, 2);
        assert_true(error.message[0] != '\0');
        assert_null(content.specs);
    }
    struct fg_endpoint_file_content content;
    struct fg_error error = {.message = ""};
    assert_false(fg_endpoint_file_parse(&content, FG_SPAN("\n10.0.0.1:80\0"), 3, &error));
    assert_int_equal(error.line, 2);
}

static void too_many_are_refused(void **state)
{
    (void)state;
    struct fg_endpoint_file_content content;
    struct fg_error error;
    assert_false(parse(&content, "1.1.1.1:1\n1.1.1.1:2\n1.1.1.1:3\n1.1.1.1:4", &error));
    assert_int_equal(error.line, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_endpoints),
        cmocka_unit_test(mistakes_are_told_with_their_line),
        cmocka_unit_test(too_many_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
