/*
 * test_span.c: cutting, comparing and reading byte runs.
 */
#include "base/local_hash.h"
#include "base/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void splits_until_the_end(void **state)
{
    (void)state;
    struct fg_span rest = FG_SPAN("a,,b");
    assert_true(fg_span_equal(fg_span_split(&rest, ','), FG_SPAN("a")));
    assert_true(fg_span_equal(fg_span_split(&rest, ','), FG_SPAN("")));
    assert_true(fg_span_equal(fg_span_split(&rest, ','), FG_SPAN("b")));
    assert_null(rest.data);
}

static void reads_numbers_strictly(void **state)
{
    (void)state;
    uint64_t value = 7;
    assert_true(fg_span_parse_u64(FG_SPAN("18446744073709551615"), &value));
    assert_true(value == UINT64_MAX);
    value = 7;
    const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "1a", "18446744073709551616", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(fg_span_parse_u64(fg_span_from_string(bad[i]), &value));
    assert_int_equal(value, 7);
}

static void compares_without_case(void **state)
{
    (void)state;
    assert_true(fg_span_equal_nocase(FG_SPAN("Content-Type"), FG_SPAN("content-tYPE")));
    assert_false(fg_span_equal_nocase(FG_SPAN("a"), FG_SPAN("b")));
    assert_false(fg_span_equal_nocase(FG_SPAN("@"), FG_SPAN("`"))); /* 32 apart, but no letters */
    assert_false(fg_span_equal_nocase(FG_SPAN("a"), FG_SPAN("ab")));
}

static void trims_only_blanks(void **state)
{
    (void)state;
    assert_true(fg_span_equal(fg_span_trim(FG_SPAN(" \t x y\t")), FG_SPAN("x y")));
    assert_true(fg_span_equal(fg_span_trim(FG_SPAN(" \t ")), FG_SPAN("")));
    assert_true(fg_span_equal(fg_span_trim(FG_SPAN("\n")), FG_SPAN("\n")));
}

static void hashes_by_seed(void **state)
{
    (void)state;
    assert_true(fg_span_hash(FG_SPAN("a"), 1) == fg_span_hash(FG_SPAN("a"), 1));
    assert_true(fg_span_hash(FG_SPAN("a"), 1) != fg_span_hash(FG_SPAN("a"), 2));
    assert_true(fg_span_hash(FG_SPAN("a"), 1) != fg_span_hash(FG_SPAN("b"), 1));
}

/* Each byte counts, wherever it stands; and nothing behind the end is read. */
static void hashes_every_byte_for_tables_of_its_own(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 64; len++) {
        char *exact = malloc(len > 0 ? len : 1);
        assert_non_null(exact);
        memset(exact, 'x', len);
        uint64_t hash = fg_local_hash(fg_span_make(exact, len), 7);
        assert_true(hash == fg_local_hash(fg_span_make(exact, len), 7));
        assert_true(hash != fg_local_hash(fg_span_make(exact, len), 8));
        for (size_t i = 0; i < len; i++) {
            exact[i] ^= 1;
            assert_true(hash != fg_local_hash(fg_span_make(exact, len), 7));
            exact[i] ^= 1;
        }
        if (len > 0)
            assert_true(hash != fg_local_hash(fg_span_make(exact, len - 1), 7));
        free(exact);
    }
}

static void control_bytes_are_found_wherever_they_stand(void **state)
{
    (void)state;
    char text[40];
    for (size_t len = 0; len <= sizeof(text); len++) {
        memset(text, 0xff, sizeof(text));
        assert_int_equal(fg_span_find_control(fg_span_make(text, len)), len);
        for (size_t at = 0; at < len; at++) {
            for (unsigned c = 0; c < 256; c++) {
                memset(text, at % 2 == 0 ? ' ' : 0x80, sizeof(text));
                text[at] = (char)c;
                bool is_control = c < 0x20 || c == 0x7f;
                assert_int_equal(fg_span_find_control(fg_span_make(text, len)),
                                 is_control ? at : len);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_bytes_are_found_wherever_they_stand),
        cmocka_unit_test(splits_until_the_end),
        cmocka_unit_test(reads_numbers_strictly),
        cmocka_unit_test(compares_without_case),
        cmocka_unit_test(trims_only_blanks),
        cmocka_unit_test(hashes_by_seed),
        cmocka_unit_test(hashes_every_byte_for_tables_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
