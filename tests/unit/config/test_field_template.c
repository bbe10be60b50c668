/*
 * test_field_template.c: templates in pieces.
 */
#include "config/field_template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void cuts_into_pieces(void **state)
{
    (void)state;
    struct fg_span rest = FG_SPAN("a%{user}%{host}100% {x}");
    struct fg_template_piece piece;
    assert_true(fg_template_next(&rest, &piece));
    assert_true(fg_span_equal(piece.text, FG_SPAN("a")));
    assert_true(piece.has_variable && piece.variable == FG_TEMPLATE_USER);
    assert_true(fg_template_next(&rest, &piece));
    assert_int_equal(piece.text.len, 0);
    assert_true(piece.has_variable && piece.variable == FG_TEMPLATE_HOST);
    assert_true(fg_template_next(&rest, &piece));
    assert_true(fg_span_equal(piece.text, FG_SPAN("100% {x}")));
    assert_false(piece.has_variable);
    assert_null(rest.data);
    rest = FG_SPAN("%{route}");
    assert_true(fg_template_next(&rest, &piece));
    assert_true(piece.has_variable);
    assert_null(rest.data);
}

static void checks_templates(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "%", "a%", "%{user}", "x %{client_ip}, %{path}"};
    static const char *const bad[] = {"%{",   "%{}",     "%{user", "a%{User}", "%{user}%{nobody}",
                                      "a\rb", " %{user}"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_null(fg_text_check_field_template(fg_span_from_string(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_non_null(fg_text_check_field_template(fg_span_from_string(bad[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_into_pieces),
        cmocka_unit_test(checks_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
