/*
 * test_text.c: numbers come out as printf would write them, and nothing is written past the end.
 */
#include "base/text.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void decimal_is_what_printf_says(void **state)
{
    (void)state;
    const uint64_t values[] = {0,   1,    9,     10,    11,          99,         100,           101,
                               999, 1000, 65535, 99999, 4294967295u, UINT64_MAX, UINT64_MAX - 1};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char expected[32], buffer[32];
        int len = snprintf(expected, sizeof(expected), "%" PRIu64, values[i]);
        struct fg_text text = fg_text_over(buffer, sizeof(buffer));
        fg_text_add_u64(&text, values[i]);
        assert_int_equal(text.len, len);
        assert_memory_equal(buffer, expected, text.len);
    }
}

static void hexadecimal_has_sixteen_digits(void **state)
{
    (void)state;
    char buffer[32];
    struct fg_text text = fg_text_over(buffer, sizeof(buffer));
    fg_text_add_hex(&text, UINT64_C(0x0123456789abcdef));
    assert_true(fg_span_equal(fg_text_span(&text), FG_SPAN("0123456789abcdef")));
    for (unsigned bit = 0; bit < 64; bit++) {
        char expected[17], digits[16];
        uint64_t value = UINT64_MAX / 3 ^ UINT64_C(1) << bit;
        snprintf(expected, sizeof(expected), "%016" PRIx64, value);
        fg_text_put_hex(digits, value);
        assert_memory_equal(digits, expected, sizeof(digits));
    }
}

static void milliseconds_have_three_places(void **state)
{
    (void)state;
    const struct {
        uint64_t ns;
        struct fg_span expected;
    } cases[] = {
        {0, FG_SPAN_LITERAL("0.000")},
        {999, FG_SPAN_LITERAL("0.000")},
        {1000, FG_SPAN_LITERAL("0.001")},
        {1204567, FG_SPAN_LITERAL("1.204")},
        {UINT64_C(60000000000), FG_SPAN_LITERAL("60000.000")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char buffer[32];
        struct fg_text text = fg_text_over(buffer, sizeof(buffer));
        fg_text_add_ms(&text, cases[i].ns);
        assert_true(fg_span_equal(fg_text_span(&text), cases[i].expected));
    }
}

static void what_does_not_fit_is_left_out(void **state)
{
    (void)state;
    char buffer[5] = {0};
    struct fg_text text = fg_text_over(buffer, 4);
    fg_text_add(&text, FG_SPAN("abc"));
    fg_text_add_u64(&text, 12);
    assert_true(text.is_cut);
    assert_int_equal(text.len, 3);
    fg_text_add_u64(&text, 7);
    assert_int_equal(text.len, 4);
    fg_text_add(&text, FG_SPAN(""));
    assert_int_equal(buffer[4], 0);
    assert_true(fg_span_equal(fg_text_span(&text), FG_SPAN("abc7")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimal_is_what_printf_says),
        cmocka_unit_test(hexadecimal_has_sixteen_digits),
        cmocka_unit_test(milliseconds_have_three_places),
        cmocka_unit_test(what_does_not_fit_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
