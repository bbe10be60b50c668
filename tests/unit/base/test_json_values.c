/*
 * test_json_values.c: no text has more values than are counted.
 */
#include "base/json_values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void counts_what_a_parser_could_make(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t count;
    } cases[] = {
        {"", 1},
        {"1", 1},
        {"{\"sku\":\"milk-tea\",\"quantity\":1}", 3},
        {"[1,2,3]", 4},
        {"[[],{},[1]]", 7}, /* six: who is empty counts for what it could hold */
        {"[\"a,b[c{d\"]", 2},
        {"[\"\\\",[\",1]", 3},
        {"[\"\\\\\",1]", 3},
        {"[\"\\u005b\",\"\\n\"]", 3},
        {"[\"without an end, [[[[", 2},
        {"[\"\\", 2},
        {"[[[[", 5},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(fg_json_values_most(fg_span_from_string(cases[i].text)), cases[i].count);
    assert_int_equal(fg_json_values_most((struct fg_span){NULL, 0}), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_what_a_parser_could_make),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
