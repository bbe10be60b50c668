/*
 * test_status.c: the form of start-up errors.
 */
#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void formats_what_is_known(void **state)
{
    (void)state;
    char text[200];
    struct fg_error error = {.file = "a.yaml", .line = 3, .column = 7, .message = "x; expected y"};
    fg_error_format(&error, text, sizeof(text));
    assert_string_equal(text, "a.yaml:3:7: x; expected y");
    error.line = 0;
    fg_error_format(&error, text, sizeof(text));
    assert_string_equal(text, "a.yaml: x; expected y");
    error.file[0] = '\0';
    fg_error_format(&error, text, sizeof(text));
    assert_string_equal(text, "x; expected y");
    assert_int_equal(fg_error_set(&error, "n=%d", 5), FG_ERR_CONFIG);
    assert_string_equal(error.message, "n=5");
    assert_int_equal(fg_error_set(NULL, "nobody listens"), FG_ERR_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(formats_what_is_known)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
