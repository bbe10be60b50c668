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
        {"bytes=0-1,", 10, TAKEN, 0, 1}, /* empty elements count for nothing (section 5.6.1) */
        {"bytes=,, 0-1 ,", 10, TAKEN, 0, 1},
        {"bytes=,", 10, IGNORED, 0, 0},
        {"bytes=0-1 3-4", 10, IGNORED, 0, 0},
        {"bytes=18446744073709551616-", 10, OUTSIDE, 0, 0},
        {"bytes=18446744073709551616-18446744073709551615", 10, OUTSIDE, 0, 0},
        {"bytes=0-18446744073709551616", 10, TAKEN, 0, 9},
        {"bytes=-18446744073709551616", 10, TAKEN, 0, 9},
        {"bytes=0-99999999999999999999999999", 10, TAKEN, 0, 9},
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
        struct fg_byte_run run = {0, 0};
        size_t count = 0;
        enum fg_byte_range result = fg_byte_ranges_parse(cases[i].text, strlen(cases[i].text),
                                                         cases[i].size, 0, 1, &run, &count);
        bool is_wrong = result == TAKEN &&
                        (count != 1 || run.first != cases[i].first || run.last != cases[i].last);
        if (result != cases[i].result || is_wrong)
            fail_msg("%s of %llu: %d %llu-%llu", cases[i].text, (unsigned long long)cases[i].size,
                     (int)result, (unsigned long long)run.first, (unsigned long long)run.last);
    }
}

/* "0-1 4-9 " */
static void describe(const struct fg_byte_run *runs, size_t count, char *text, size_t room)
{
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        at += (size_t)snprintf(text + at, room - at, "%llu-%llu ",
                               (unsigned long long)runs[i].first, (unsigned long long)runs[i].last);
}

static void reads_several_and_joins_what_touches(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t gap;
        enum fg_byte_range result;
        const char *runs;
    } cases[] = {
        {"bytes=0-1,4-5", 0, TAKEN, "0-1 4-5 "},
        {"bytes=4-5, 0-1", 0, TAKEN, "4-5 0-1 "}, /* in the order of the field */
        {"bytes=0-0,-1", 0, TAKEN, "0-0 99-99 "},
        {"bytes=0-1,2-3", 0, TAKEN, "0-1 2-3 "},
        {"bytes=0-1,2-3", 1, TAKEN, "0-3 "},
        {"bytes=0-1,4-5", 2, TAKEN, "0-1 4-5 "},
        {"bytes=0-1,4-5", 3, TAKEN, "0-5 "},
        {"bytes=4-5,0-1", 3, TAKEN, "0-5 "},
        {"bytes=0-9,5-19,10-12", 0, TAKEN, "0-19 "},
        {"bytes=50-59,0-9,20-29,5-25", 0, TAKEN, "50-59 0-29 "}, /* the last brings two together */
        {"bytes=0-9,20-29,40-49,5-45", 0, TAKEN, "0-49 "},
        {"bytes=0-,0-,0-,0-", 0, TAKEN, "0-99 "},
        {"bytes=0-1,200-300,4-5", 0, TAKEN, "0-1 4-5 "}, /* what is not there is left out */
        {"bytes=200-,300-", 0, OUTSIDE, ""},
        {"bytes=100-,-0", 0, OUTSIDE, ""},
        {"bytes=0-1,5-4", 0, IGNORED, ""}, /* one that is nonsense spoils all */
        {"bytes=0-1,x", 0, IGNORED, ""},
        {"bytes=0-1,4-5,8-9,12-13,16-17", 0, IGNORED, ""}, /* one more than may be */
        {"bytes=1-1,1-1,1-1,1-1,1-1", 0, IGNORED, ""},
        {"bytes=0-18446744073709551615,-18446744073709551615", UINT64_MAX, TAKEN, "0-99 "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_byte_run runs[4];
        char text[128] = "";
        size_t count = 0;
        enum fg_byte_range result = fg_byte_ranges_parse(cases[i].text, strlen(cases[i].text), 100,
                                                         cases[i].gap, 4, runs, &count);
        if (result == TAKEN)
            describe(runs, count, text, sizeof(text));
        if (result != cases[i].result || strcmp(text, cases[i].runs) != 0)
            fail_msg("%s, gap %llu: %d %s", cases[i].text, (unsigned long long)cases[i].gap,
                     (int)result, text);
    }
}

/* Every list of up to four short ranges: the same bytes as asked for, in runs that do not touch. */
static void joined_runs_are_exactly_what_was_asked_for(void **state)
{
    (void)state;
    enum { SIZE = 5, SPECS = SIZE * (SIZE + 1) / 2 };
    struct fg_byte_run specs[SPECS];
    size_t spec_count = 0;
    for (uint64_t first = 0; first < SIZE; first++) {
        for (uint64_t last = first; last < SIZE; last++)
            specs[spec_count++] = (struct fg_byte_run){first, last};
    }
    for (size_t list = 0; list < SPECS * SPECS * SPECS * SPECS; list++) {
        char text[64] = "bytes=";
        unsigned asked = 0, told = 0;
        for (size_t rest = list, i = 0; i < 4; i++, rest /= SPECS) {
            const struct fg_byte_run *spec = &specs[rest % SPECS];
            size_t at = strlen(text);
            snprintf(text + at, sizeof(text) - at, "%s%d-%d", i > 0 ? "," : "", (int)spec->first,
                     (int)spec->last);
            for (uint64_t b = spec->first; b <= spec->last; b++)
                asked |= 1u << b;
        }
        struct fg_byte_run runs[4];
        size_t count = 0;
        assert_int_equal(fg_byte_ranges_parse(text, strlen(text), SIZE, 1, 4, runs, &count), TAKEN);
        for (size_t i = 0; i < count; i++) {
            /* a byte beside a run belongs to no other one */
            unsigned run = (2u << runs[i].last) - (1u << runs[i].first);
            unsigned beside = run << 1 | run >> 1;
            assert_int_equal(told & (run | beside), 0);
            told |= run;
        }
        assert_int_equal(told, asked);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_one_range_and_ignores_what_is_not),
        cmocka_unit_test(reads_several_and_joins_what_touches),
        cmocka_unit_test(joined_runs_are_exactly_what_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
