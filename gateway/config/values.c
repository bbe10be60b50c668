/*
 * values.c: a number, then a unit out of a table; the tables serve both directions.
 */
#include "config/values.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first: formatting takes the first that divides the value. */
static const struct unit time_units[] = {
    {"d", 24 * 3600 * FG_S}, {"h", 3600 * FG_S}, {"m", 60 * FG_S}, {"s", FG_S},
    {"ms", FG_MS},           {"us", 1000},       {"ns", 1},
};

static const struct unit size_units[] = {
    {"TiB", UINT64_C(1) << 40},
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"B", 1},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The digits at the front of *rest, which moves behind them. */
static enum fg_value_problem take_digits(struct fg_span *rest, uint64_t *value)
{
    size_t count = 0;
    uint64_t sum = 0;
    bool overflows = false;
    while (count < rest->len && is_digit(rest->data[count])) {
        uint64_t digit = (uint64_t)(rest->data[count] - '0');
        overflows = overflows || __builtin_mul_overflow(sum, UINT64_C(10), &sum) ||
                    __builtin_add_overflow(sum, digit, &sum);
        count++;
    }
    if (count == 0)
        return FG_VALUE_MALFORMED;
    *rest = fg_span_make(rest->data + count, rest->len - count);
    *value = sum;
    return overflows ? FG_VALUE_TOO_LARGE : FG_VALUE_OK;
}

static bool is_word(struct fg_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
            return false;
    }
    return text.len > 0;
}

static enum fg_value_problem apply_unit(struct fg_span unit, const struct unit *units, size_t count,
                                        uint64_t number, uint64_t *value)
{
    for (size_t i = 0; i < count; i++) {
        if (!fg_span_equal(unit, fg_span_from_string(units[i].name)))
            continue;
        uint64_t product = 0;
        if (__builtin_mul_overflow(number, units[i].factor, &product))
            return FG_VALUE_TOO_LARGE;
        *value = product;
        return FG_VALUE_OK;
    }
    return is_word(unit) ? FG_VALUE_UNKNOWN_UNIT : FG_VALUE_MALFORMED;
}

enum fg_value_problem fg_value_parse_bool(struct fg_span text, bool *value)
{
    if (!fg_span_equal(text, FG_SPAN("true")) && !fg_span_equal(text, FG_SPAN("false")))
        return FG_VALUE_MALFORMED;
    *value = text.len == 4;
    return FG_VALUE_OK;
}

enum fg_value_problem fg_value_parse_count(struct fg_span text, uint64_t *value)
{
    uint64_t number = 0;
    enum fg_value_problem problem = take_digits(&text, &number);
    if (text.len > 0)
        return FG_VALUE_MALFORMED;
    if (problem == FG_VALUE_OK)
        *value = number;
    return problem;
}

enum fg_value_problem fg_value_parse_duration(struct fg_span text, uint64_t *ns)
{
    uint64_t number = 0;
    enum fg_value_problem problem = take_digits(&text, &number);
    if (problem != FG_VALUE_OK)
        return problem;
    if (text.len == 0 && number != 0)
        return FG_VALUE_NO_UNIT;
    if (text.len == 0) {
        *ns = 0;
        return FG_VALUE_OK;
    }
    return apply_unit(text, time_units, COUNT_OF(time_units), number, ns);
}

enum fg_value_problem fg_value_parse_size(struct fg_span text, uint64_t *bytes)
{
    uint64_t number = 0;
    enum fg_value_problem problem = take_digits(&text, &number);
    if (problem != FG_VALUE_OK)
        return problem;
    if (text.len == 0)
        text = FG_SPAN("B");
    return apply_unit(text, size_units, COUNT_OF(size_units), number, bytes);
}

enum fg_value_problem fg_value_parse_rate(struct fg_span text, struct fg_rate_conf *rate)
{
    uint64_t amount = 0;
    enum fg_value_problem problem = take_digits(&text, &amount);
    if (problem != FG_VALUE_OK)
        return problem;
    if (text.len == 0)
        return FG_VALUE_NO_UNIT;
    if (text.data[0] != '/')
        return FG_VALUE_MALFORMED;
    struct fg_span period = fg_span_make(text.data + 1, text.len - 1);
    uint64_t count = 1;
    if (period.len > 0 && is_digit(period.data[0])) {
        problem = take_digits(&period, &count);
        if (problem != FG_VALUE_OK)
            return problem;
    }
    uint64_t period_ns = 0;
    problem = apply_unit(period, time_units, COUNT_OF(time_units), count, &period_ns);
    if (problem != FG_VALUE_OK)
        return problem;
    if (period_ns == 0)
        return FG_VALUE_MALFORMED;
    *rate = (struct fg_rate_conf){.amount = amount, .period_ns = period_ns};
    return FG_VALUE_OK;
}

enum fg_value_problem fg_value_parse_percentage(struct fg_span text, uint64_t *permille)
{
    uint64_t whole = 0;
    uint64_t tenth = 0;
    enum fg_value_problem problem = take_digits(&text, &whole);
    if (problem != FG_VALUE_OK)
        return problem;
    if (text.len >= 2 && text.data[0] == '.' && is_digit(text.data[1])) {
        tenth = (uint64_t)(text.data[1] - '0');
        text = fg_span_make(text.data + 2, text.len - 2);
    }
    if (text.len == 0)
        return FG_VALUE_NO_UNIT;
    if (!fg_span_equal(text, FG_SPAN("%")))
        return FG_VALUE_MALFORMED;
    if (whole > UINT64_MAX / 10 - 1)
        return FG_VALUE_TOO_LARGE;
    *permille = whole * 10 + tenth;
    return FG_VALUE_OK;
}

enum fg_value_problem fg_value_parse_band(struct fg_span text, struct fg_overload_band *band)
{
    struct fg_span leave = text;
    struct fg_span enter = fg_span_split(&leave, '/');
    uint64_t enter_permille = 0;
    uint64_t leave_permille = 0;
    if (enter.len == text.len)
        return FG_VALUE_MALFORMED;
    enum fg_value_problem problem = fg_value_parse_percentage(enter, &enter_permille);
    if (problem == FG_VALUE_OK)
        problem = fg_value_parse_percentage(leave, &leave_permille);
    if (problem != FG_VALUE_OK)
        return problem;
    if (enter_permille > UINT32_MAX || leave_permille > UINT32_MAX)
        return FG_VALUE_TOO_LARGE;
    *band = (struct fg_overload_band){(uint32_t)enter_permille, (uint32_t)leave_permille};
    return FG_VALUE_OK;
}

static void format_unit(char *out, size_t bytes, uint64_t value, const struct unit *units,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (value % units[i].factor == 0) {
            snprintf(out, bytes, "%" PRIu64 "%s", value / units[i].factor, units[i].name);
            return;
        }
    }
}

void fg_value_format_duration(char *out, size_t bytes, uint64_t ns)
{
    if (ns == 0)
        snprintf(out, bytes, "0s");
    else
        format_unit(out, bytes, ns, time_units, COUNT_OF(time_units));
}

void fg_value_format_size(char *out, size_t bytes, uint64_t value)
{
    if (value == 0)
        snprintf(out, bytes, "0B");
    else
        format_unit(out, bytes, value, size_units, COUNT_OF(size_units));
}

void fg_value_format_rate(char *out, size_t bytes, struct fg_rate_conf rate)
{
    char period[FG_VALUE_TEXT_MAX / 2];
    fg_value_format_duration(period, sizeof(period), rate.period_ns);
    bool is_one = period[0] == '1' && !is_digit(period[1]);
    snprintf(out, bytes, "%" PRIu64 "/%s", rate.amount, period + (is_one ? 1 : 0));
}

void fg_value_format_percentage(char *out, size_t bytes, uint64_t permille)
{
    if (permille % 10 == 0)
        snprintf(out, bytes, "%" PRIu64 "%%", permille / 10);
    else
        snprintf(out, bytes, "%" PRIu64 ".%" PRIu64 "%%", permille / 10, permille % 10);
}

void fg_value_format_band(char *out, size_t bytes, struct fg_overload_band band)
{
    char enter[FG_VALUE_TEXT_MAX / 2 - 4];
    char leave[FG_VALUE_TEXT_MAX / 2 - 4];
    fg_value_format_percentage(enter, sizeof(enter), band.enter_permille);
    fg_value_format_percentage(leave, sizeof(leave), band.leave_permille);
    snprintf(out, bytes, "%s/%s", enter, leave);
}
