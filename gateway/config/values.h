/*
 * values.h: the scalar types of the configuration, from text and back.
 * Thread   any; pure functions.
 * Text     is read whole: no blanks, no sign, no exponent; every sum is checked for overflow.
 */
#ifndef FG_CONFIG_VALUES_H
#define FG_CONFIG_VALUES_H

#include "config/config.h"

enum fg_value_problem {
    FG_VALUE_OK,
    FG_VALUE_MALFORMED,
    FG_VALUE_NO_UNIT,
    FG_VALUE_UNKNOWN_UNIT,
    FG_VALUE_TOO_LARGE, /* more than 64 bits hold */
};

/* "true" or "false" */
enum fg_value_problem fg_value_parse_bool(struct fg_span text, bool *value);

/* "20000"; underscores as in "2_000_000" are not digits */
enum fg_value_problem fg_value_parse_count(struct fg_span text, uint64_t *value);

/* "250ms", "5s", "2m", "1h", "1d", also "us" and "ns"; "0" alone has no unit */
enum fg_value_problem fg_value_parse_duration(struct fg_span text, uint64_t *ns);

/* "64KiB", "10MiB", "1GiB", "1TiB", "512B" or "512" */
enum fg_value_problem fg_value_parse_size(struct fg_span text, uint64_t *bytes);

/* "10/s", "600/m", "100000/h", "5/10s", "1/250ms" */
enum fg_value_problem fg_value_parse_rate(struct fg_span text, struct fg_rate_conf *rate);

/* "85%", "12.5%": one decimal at most */
enum fg_value_problem fg_value_parse_percentage(struct fg_span text, uint64_t *permille);

/* "85%/75%": taken from the first on, given up below the second, which is not above it */
enum fg_value_problem fg_value_parse_band(struct fg_span text, struct fg_overload_band *band);

/*
 * The shortest exact text, which parses to the same value. Writes at most `bytes` with the NUL;
 * FG_VALUE_TEXT_MAX always suffices.
 */
#define FG_VALUE_TEXT_MAX 64
void fg_value_format_duration(char *out, size_t bytes, uint64_t ns);
void fg_value_format_size(char *out, size_t bytes, uint64_t value);
void fg_value_format_rate(char *out, size_t bytes, struct fg_rate_conf rate);
void fg_value_format_percentage(char *out, size_t bytes, uint64_t permille);
void fg_value_format_band(char *out, size_t bytes, struct fg_overload_band band);

#endif
