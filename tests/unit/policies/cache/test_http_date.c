/*
 * test_http_date.c: the examples of RFC 9110, every kind of wrong date, and there-and-back.
 */
#include "policies/cache/http_date.h"
#include "policy_test.h"

#define EXAMPLE INT64_C(784111777) /* 6 November 1994, 08:49:37 */
#define NOW INT64_C(1770336000)    /* 6 February 2026 */

static bool parse(const char *text, int64_t *unix_s)
{
    return fg_http_date_parse(text, strlen(text), NOW, unix_s);
}

static void reads_the_three_forms(void **state)
{
    (void)state;
    int64_t at = 0;
    assert_true(parse("Sun, 06 Nov 1994 08:49:37 GMT", &at));
    assert_true(at == EXAMPLE);
    assert_true(parse("Sunday, 06-Nov-94 08:49:37 GMT", &at));
    assert_true(at == EXAMPLE);
    assert_true(parse("Sun Nov  6 08:49:37 1994", &at));
    assert_true(at == EXAMPLE);
    assert_true(parse("Wed Nov 16 08:49:37 1994", &at));
    assert_true(at == EXAMPLE + 10 * 86400);
    assert_true(parse("Thu, 01 Jan 1970 00:00:00 GMT", &at));
    assert_true(at == 0);
    assert_true(parse("Fri, 31 Dec 9999 23:59:59 GMT", &at));
    assert_true(at == INT64_C(253402300799));
    assert_true(parse("Sat, 01 Jan 0000 00:00:00 GMT", &at)); /* long before 1970, but a date */
    assert_true(at == INT64_C(-62167219200));
}

static void upper_and_lower_case_are_one(void **state)
{
    (void)state;
    static const char *const same[] = {
        "sun, 06 nov 1994 08:49:37 gmt", "SUN, 06 NOV 1994 08:49:37 GMT",
        "sUNDAY, 06-nOV-94 08:49:37 Gmt", "sUn nOv  6 08:49:37 1994"};
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        int64_t at = 0;
        assert_true(parse(same[i], &at));
        assert_true(at == EXAMPLE);
    }
}

static void two_digit_years_are_at_most_50_ahead(void **state)
{
    (void)state;
    int64_t at = 0;
    assert_true(parse("Thursday, 06-Feb-76 00:00:00 GMT", &at)); /* exactly 50 years ahead */
    assert_true(at == INT64_C(3348172800));
    assert_true(parse("Friday, 06-Feb-76 00:00:01 GMT", &at)); /* a second more: 1976 */
    assert_true(at == INT64_C(192412801));
    assert_true(parse("Tuesday, 29-Feb-00 00:00:00 GMT", &at));
    assert_true(at == INT64_C(951782400));
}

static void refuses_what_is_no_date(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "0",
        "-1",
        "Sun",
        "Sun,",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 29 Feb 2023 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun,  06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Xyz, 06 Nov 1994 08:49:37 GMT",
        "Monday, 06-Nov-1994 08:49:37 GMT",
        "Sunsday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 94",
    };
    int64_t at = 12345;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(parse(wrong[i], &at));
        assert_true(at == 12345);
    }
    assert_false(fg_http_date_parse(NULL, 0, NOW, &at));
    assert_true(parse("Tue, 29 Feb 2000 08:49:60 GMT", &at)); /* a leap day, a leap second */
}

static void every_prefix_is_refused_without_reading_on(void **state)
{
    (void)state;
    static const char *const good[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                       "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    int64_t at = 0;
    for (size_t i = 0; i < 3; i++) {
        for (size_t len = 0; len < strlen(good[i]); len++) {
            char *copy = malloc(len + 1); /* exact size: a read behind it is found */
            assert_non_null(copy);
            char *tight = realloc(copy, len == 0 ? 1 : len);
            assert_non_null(tight);
            memcpy(tight, good[i], len);
            assert_false(fg_http_date_parse(tight, len, NOW, &at));
            free(tight);
        }
    }
}

static void formats_and_reads_back(void **state)
{
    (void)state;
    char text[FG_HTTP_DATE_BYTES];
    fg_http_date_format(EXAMPLE, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    fg_http_date_format(INT64_MIN, text);
    assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
    fg_http_date_format(INT64_MAX, text);
    assert_string_equal(text, "Fri, 31 Dec 9999 23:59:59 GMT");
    uint64_t seed = test_seed(12);
    for (int i = 0; i < 20000; i++) {
        int64_t in = (int64_t)test_below(&seed, UINT64_C(253402300800));
        int64_t out = -1;
        fg_http_date_format(in, text);
        assert_true(parse(text, &out));
        assert_true(in == out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_three_forms),
        cmocka_unit_test(upper_and_lower_case_are_one),
        cmocka_unit_test(two_digit_years_are_at_most_50_ahead),
        cmocka_unit_test(refuses_what_is_no_date),
        cmocka_unit_test(every_prefix_is_refused_without_reading_on),
        cmocka_unit_test(formats_and_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
