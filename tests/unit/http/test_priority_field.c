/*
 * test_priority_field.c: RFC 9218 section 4 over dictionaries of RFC 8941.
 */
#include "http/priority_field.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

static void says_what_it_says(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint8_t urgency;
        bool is_incremental;
    } rows[] = {
        {"", 3, false},
        {"   ", 3, false},
        {"u=0", 0, false},
        {"u=7, i", 7, true},
        {"  u=1\t,\t i=?1  ", 1, true},
        {"i=?0", 3, false},
        {"i, i=?0", 3, false},  /* the last counts */
        {"u=5, u=1", 1, false}, /* the same */
        {"u=8", 3, false},      /* out of range: not there */
        {"u=-1", 3, false},
        {"u=1, u=8", 1, false},
        {"u=1.5, i=1", 3, false}, /* of another type: not there */
        {"u=\"1\", i=a", 3, false},
        {"u", 3, false},
        {"u=(1 2), i", 3, true},
        {"u=2;a=b;c, i;d=\"e\"", 2, true},
        {"x=\"a, u=1\", u=4", 4, false},
        {"x=\"\\\\\\\"\", u=4", 4, false},
        {"x=:aGVsbG8=:, u=4", 4, false},
        {"x=*t/k:!, u=4", 4, false},
        {"x=(\"a\" b;c=?1  1.25), *k_-.9=-12.5, u=4", 4, false},
        {"x=(), u=4", 4, false},
        {"x=999999999999999, u=4", 4, false},
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct fg_priority_field field = {9, true};
        assert_true(fg_priority_field_parse(fg_span_from_string(rows[i].text), &field));
        if (field.urgency != rows[i].urgency || field.is_incremental != rows[i].is_incremental)
            fail_msg("%s: %u %d", rows[i].text, field.urgency, field.is_incremental);
    }
}

static void what_is_no_dictionary_says_nothing(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "u=1,",
        "u=1,,i",
        "u=1 i",
        ",u=1",
        "u=",
        "U=1",
        "u=1;",
        "u=1;=2",
        "u=1;A",
        "u= 1",
        "u =1",
        "=1",
        "u=1, \xc3\xa9",
        "x=\"a, u=1",
        "x=\"\\a\"",
        "x=\"\x01\"",
        "x=:a",
        "x=:a\":",
        "x=?2",
        "x=?",
        "x=-",
        "x=1.",
        "x=1.2345",
        "x=(1",
        "x=(1,2)",
        "x=(1\"a\")",
        "x=(1;)",
        "x=1000000000000000",
        "x=@",
        "u=1;a=",
        "\tu=1",
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct fg_priority_field field = {9, true};
        if (fg_priority_field_parse(fg_span_from_string(rows[i]), &field))
            fail_msg("taken: %s", rows[i]);
        assert_int_equal(field.urgency, 3);
        assert_false(field.is_incremental);
    }
    struct fg_priority_field field;
    assert_false(fg_priority_field_parse(fg_span_make("u=1\0", 4), &field));
}

/* As one list of members would (RFC 9110 section 5.3). */
static void a_further_field_goes_over_the_first(void **state)
{
    (void)state;
    struct fg_priority_field field = FG_PRIORITY_FIELD_USUAL;
    assert_true(fg_priority_field_add(FG_SPAN("u=1, i"), &field));
    assert_true(fg_priority_field_add(FG_SPAN("u=5"), &field));
    assert_int_equal(field.urgency, 5);
    assert_true(field.is_incremental);
    assert_false(fg_priority_field_add(FG_SPAN("i=?0, u=2,"), &field));
    assert_int_equal(field.urgency, 5);
    assert_true(field.is_incremental);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_it_says),
        cmocka_unit_test(what_is_no_dictionary_says_nothing),
        cmocka_unit_test(a_further_field_goes_over_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
