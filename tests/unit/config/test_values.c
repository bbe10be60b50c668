/*
 * test_values.c: every scalar type at its edges, and back to text.
 */
#include "base/clock.h"
#include "config/values.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

typedef enum fg_value_problem (*parse_u64_fn)(struct fg_span text, uint64_t *value);

struct good {
    const char *text;
    uint64_t value;
};

struct bad {
    const char *text;
    enum fg_value_problem problem;
};

static void check_good(parse_u64_fn parse, const struct good *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 42;
        print_message("%s\n", cases[i].text);
        assert_int_equal(parse(fg_span_from_string(cases[i].text), &value), FG_VALUE_OK);
        assert_int_equal(value, cases[i].value);
    }
}

static void check_bad(parse_u64_fn parse, const struct bad *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 42;
        print_message("\"%s\"\n", cases[i].text);
        assert_int_equal(parse(fg_span_from_string(cases[i].text), &value), cases[i].problem);
        assert_int_equal(value, 42); /* a refused text changes nothing */
    }
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static void reads_booleans(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",   "True", "TRUE", "yes", "no",    "on",
                                        "of", "1",    "0",    "t",   "true ", "falsely"};
    bool value = false;
    assert_int_equal(fg_value_parse_bool(FG_SPAN("true"), &value), FG_VALUE_OK);
    assert_true(value);
    assert_int_equal(fg_value_parse_bool(FG_SPAN("false"), &value), FG_VALUE_OK);
    assert_false(value);
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_int_equal(fg_value_parse_bool(fg_span_from_string(wrong[i]), &value),
                         FG_VALUE_MALFORMED);
}

static void reads_counts(void **state)
{
    (void)state;
    static const struct good good[] = {
        {"0", 0},
        {"1", 1},
        {"007", 7},
        {"18446744073709551615", UINT64_MAX},
    };
    static const struct bad bad[] = {
        {"", FG_VALUE_MALFORMED},
        {"-1", FG_VALUE_MALFORMED},
        {"+1", FG_VALUE_MALFORMED},
        {" 1", FG_VALUE_MALFORMED},
        {"1 ", FG_VALUE_MALFORMED},
        {"1.0", FG_VALUE_MALFORMED},
        {"1e3", FG_VALUE_MALFORMED},
        {"0x10", FG_VALUE_MALFORMED},
        {"1_000", FG_VALUE_MALFORMED},
        {"18446744073709551616", FG_VALUE_TOO_LARGE},
        {"99999999999999999999999", FG_VALUE_TOO_LARGE},
    };
    check_good(fg_value_parse_count, good, COUNT_OF(good));
    check_bad(fg_value_parse_count, bad, COUNT_OF(bad));
}

static void reads_durations(void **state)
{
    (void)state;
    static const struct good good[] = {
        {"0", 0},
        {"0s", 0},
        {"1ns", 1},
        {"1us", 1000},
        {"250ms", 250 * FG_MS},
        {"5s", 5 * FG_S},
        {"2m", 120 * FG_S},
        {"1h", 3600 * FG_S},
        {"1d", 86400 * FG_S},
        {"18446744073709551615ns", UINT64_MAX},
        {"213503d", 86400 * FG_S * 213503},
    };
    static const struct bad bad[] = {
        {"", FG_VALUE_MALFORMED},        {"s", FG_VALUE_MALFORMED},
        {"5", FG_VALUE_NO_UNIT},         {"5S", FG_VALUE_UNKNOWN_UNIT},
        {"5sec", FG_VALUE_UNKNOWN_UNIT}, {"5M", FG_VALUE_UNKNOWN_UNIT},
        {"5w", FG_VALUE_UNKNOWN_UNIT},   {"5 s", FG_VALUE_MALFORMED},
        {"5s ", FG_VALUE_MALFORMED},     {"1m30s", FG_VALUE_MALFORMED},
        {"1.5s", FG_VALUE_MALFORMED},    {"-5s", FG_VALUE_MALFORMED},
        {"213504d", FG_VALUE_TOO_LARGE}, {"18446744073709551616ns", FG_VALUE_TOO_LARGE},
    };
    check_good(fg_value_parse_duration, good, COUNT_OF(good));
    check_bad(fg_value_parse_duration, bad, COUNT_OF(bad));
}

static void reads_sizes(void **state)
{
    (void)state;
    static const struct good good[] = {
        {"0", 0},
        {"512", 512},
        {"512B", 512},
        {"64KiB", 65536},
        {"10MiB", 10485760},
        {"1GiB", 1073741824},
        {"16777215TiB", UINT64_C(16777215) << 40},
        {"18446744073709551615", UINT64_MAX},
    };
    static const struct bad bad[] = {
        {"", FG_VALUE_MALFORMED},
        {"KiB", FG_VALUE_MALFORMED},
        {"64KB", FG_VALUE_UNKNOWN_UNIT},
        {"64kib", FG_VALUE_UNKNOWN_UNIT},
        {"64k", FG_VALUE_UNKNOWN_UNIT},
        {"64M", FG_VALUE_UNKNOWN_UNIT},
        {"64 KiB", FG_VALUE_MALFORMED},
        {"1.5GiB", FG_VALUE_MALFORMED},
        {"16777216TiB", FG_VALUE_TOO_LARGE},
    };
    check_good(fg_value_parse_size, good, COUNT_OF(good));
    check_bad(fg_value_parse_size, bad, COUNT_OF(bad));
}

static void reads_percentages(void **state)
{
    (void)state;
    static const struct good good[] = {
        {"0%", 0}, {"0.1%", 1}, {"12.5%", 125}, {"85%", 850}, {"100%", 1000}, {"250.0%", 2500},
    };
    static const struct bad bad[] = {
        {"", FG_VALUE_MALFORMED},       {"%", FG_VALUE_MALFORMED},
        {"85", FG_VALUE_NO_UNIT},       {"0.85", FG_VALUE_MALFORMED},
        {"12.55%", FG_VALUE_MALFORMED}, {"12.%", FG_VALUE_MALFORMED},
        {".5%", FG_VALUE_MALFORMED},    {"85 %", FG_VALUE_MALFORMED},
        {"85%%", FG_VALUE_MALFORMED},   {"18446744073709551615%", FG_VALUE_TOO_LARGE},
    };
    check_good(fg_value_parse_percentage, good, COUNT_OF(good));
    check_bad(fg_value_parse_percentage, bad, COUNT_OF(bad));
}

static void reads_rates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct fg_rate_conf rate;
    } good[] = {
        {"10/s", {10, FG_S}},
        {"600/m", {600, 60 * FG_S}},
        {"5/10s", {5, 10 * FG_S}},
        {"1/250ms", {1, 250 * FG_MS}},
        {"0/s", {0, FG_S}},
        {"7/d", {7, 86400 * FG_S}},
        {"100000/h", {100000, 3600 * FG_S}},
    };
    static const struct bad bad[] = {
        {"", FG_VALUE_MALFORMED},
        {"10", FG_VALUE_NO_UNIT},
        {"10s", FG_VALUE_MALFORMED},
        {"10/", FG_VALUE_MALFORMED},
        {"10/10", FG_VALUE_MALFORMED},
        {"10/0s", FG_VALUE_MALFORMED},
        {"/s", FG_VALUE_MALFORMED},
        {"10/sec", FG_VALUE_UNKNOWN_UNIT},
        {"10 /s", FG_VALUE_MALFORMED},
        {"10/s/s", FG_VALUE_MALFORMED},
        {"1/999999999999d", FG_VALUE_TOO_LARGE},
        {"18446744073709551616/s", FG_VALUE_TOO_LARGE},
    };
    struct fg_rate_conf rate = {0};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        print_message("%s\n", good[i].text);
        assert_int_equal(fg_value_parse_rate(fg_span_from_string(good[i].text), &rate),
                         FG_VALUE_OK);
        assert_int_equal(rate.amount, good[i].rate.amount);
        assert_int_equal(rate.period_ns, good[i].rate.period_ns);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        print_message("\"%s\"\n", bad[i].text);
        assert_int_equal(fg_value_parse_rate(fg_span_from_string(bad[i].text), &rate),
                         bad[i].problem);
    }
}

/* Text of a value parses to that value, over values of all magnitudes. */
static void formats_what_it_reads(void **state)
{
    (void)state;
    char text[FG_VALUE_TEXT_MAX];
    uint64_t value = 1;
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t back = 0;
        fg_value_format_duration(text, sizeof(text), value);
        assert_int_equal(fg_value_parse_duration(fg_span_from_string(text), &back), FG_VALUE_OK);
        assert_int_equal(back, value);
        fg_value_format_size(text, sizeof(text), value);
        assert_int_equal(fg_value_parse_size(fg_span_from_string(text), &back), FG_VALUE_OK);
        assert_int_equal(back, value);
        uint64_t permille = value >> 16;
        fg_value_format_percentage(text, sizeof(text), permille);
        assert_int_equal(fg_value_parse_percentage(fg_span_from_string(text), &back), FG_VALUE_OK);
        assert_int_equal(back, permille);
        struct fg_rate_conf rate = {0};
        fg_value_format_rate(text, sizeof(text), (struct fg_rate_conf){value, value});
        assert_int_equal(fg_value_parse_rate(fg_span_from_string(text), &rate), FG_VALUE_OK);
        assert_int_equal(rate.amount, value);
        assert_int_equal(rate.period_ns, value);
        value = value * UINT64_C(6364136223846793005) + 1442695040888963407;
        value = i % 3 == 0 ? value >> 40 : value;
        value += value == 0;
    }
}

static void formats_shortly(void **state)
{
    (void)state;
    char text[FG_VALUE_TEXT_MAX];
    fg_value_format_duration(text, sizeof(text), 90 * FG_S);
    assert_string_equal(text, "90s");
    fg_value_format_duration(text, sizeof(text), 120 * FG_S);
    assert_string_equal(text, "2m");
    fg_value_format_size(text, sizeof(text), 1536 * 1024);
    assert_string_equal(text, "1536KiB");
    fg_value_format_rate(text, sizeof(text), (struct fg_rate_conf){10, FG_S});
    assert_string_equal(text, "10/s");
    fg_value_format_rate(text, sizeof(text), (struct fg_rate_conf){5, 10 * FG_S});
    assert_string_equal(text, "5/10s");
    fg_value_format_percentage(text, sizeof(text), 125);
    assert_string_equal(text, "12.5%");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_booleans),        cmocka_unit_test(reads_counts),
        cmocka_unit_test(reads_durations),       cmocka_unit_test(reads_sizes),
        cmocka_unit_test(reads_percentages),     cmocka_unit_test(reads_rates),
        cmocka_unit_test(formats_what_it_reads), cmocka_unit_test(formats_shortly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
