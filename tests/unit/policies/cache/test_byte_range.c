/*
 * test_byte_range.c: RFC 9110 section 14.1.2, its examples and its edges.
 */
#include "policies/cache/byte_range.h"
#include "policy_test.h"

#define IGNORED FG_BYTE_RANGE_IGNORED
#define TAKEN FG_BYTE_RANGE_TAKEN
#define OUTSIDE FG_BYTE_RANGE_OUTSIDE

static void reads_one_range_and_ignores_what_is_not(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t size;
        enum fg_byte_range result;
        uint64_t first, last;
    } cases[] = {
        {"bytes=0-499", 10000, TAKEN, 0, 499},
        {"bytes=500-999", 10000, TAKEN, 500, 999},
        {"bytes=-500", 10000, TAKEN, 9500, 9999},
        {"bytes=9500-", 10000, TAKEN, 9500, 9999},
        {"bytes=0-0", 1, TAKEN, 0, 0},
        {"bytes=0-99", 10, TAKEN, 0, 9},
        {"bytes=-99", 10, TAKEN, 0, 9},
        {"Bytes=1-2", 10, TAKEN, 1, 2},
        {"bytes= 1-2 ", 10, TAKEN, 1, 2},
        {"bytes=9-18446744073709551615", 10, TAKEN, 9, 9},
        {"bytes=10-", 10, OUTSIDE, 0, 0},
        {"bytes=10-11", 10, OUTSIDE, 0, 0},
        {"bytes=0-", 0, OUTSIDE, 0, 0},
        {"bytes=-1", 0, OUTSIDE, 0, 0},
        {"bytes=-0", 10, OUTSIDE, 0, 0},
        {"bytes=18446744073709551615-", UINT64_MAX, OUTSIDE, 0, 0},
        {"bytes=5-4", 10, IGNORED, 0, 0},
        {"bytes=0-1,3-4", 10, IGNORED, 0, 0},
        {"bytes=0-1,", 10, IGNORED, 0, 0},
        {"bytes=18446744073709551616-", 10, IGNORED, 0, 0},
        {"bytes=0-18446744073709551616", 10, IGNORED, 0, 0},
        {"bytes=-18446744073709551616", 10, IGNORED, 0, 0},
        {"lines=0-1", 10, IGNORED, 0, 0},
        {"bytes", 10, IGNORED, 0, 0},
        {"bytes=", 10, IGNORED, 0, 0},
        {"bytes=-", 10, IGNORED, 0, 0},
        {"bytes=1", 10, IGNORED, 0, 0},
        {"bytes=+1-2", 10, IGNORED, 0, 0},
        {"bytes=1 -2", 10, IGNORED, 0, 0},
        {"bytes=1- 2", 10, IGNORED, 0, 0},
        {"bytes=--1", 10, IGNORED, 0, 0},
        {"bytes=0x1-2", 10, IGNORED, 0, 0},
        {"bytes=1-2x", 10, IGNORED, 0, 0},
        {"", 10, IGNORED, 0, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t first = 0, last = 0;
        enum fg_byte_range result =
            fg_byte_range_parse(cases[i].text, strlen(cases[i].text), cases[i].size, &first, &last);
        if (result != cases[i].result || first != cases[i].first || last != cases[i].last)
            fail_msg("%s of %llu: %d %llu-%llu", cases[i].text, (unsigned long long)cases[i].size,
                     (int)result, (unsigned long long)first, (unsigned long long)last);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_one_range_and_ignores_what_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
