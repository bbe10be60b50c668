/*
 * http_date.c: the three date forms of HTTP to seconds since 1970 and back.
 * Job      IMF-fixdate, RFC 850 and asctime in; IMF-fixdate out.
 * Thread   any; pure functions, no locale, no time zone, no libc calendar.
 * Never    reads beyond `len`; accepts a day that does not exist, or another zone than GMT. The
 *          name of the weekday must be one, but need not fit the date: senders get it wrong and
 *          nothing depends on it. Upper and lower case are one, as RFC 9111 section 4.2 asks.
 * Source   RFC 9110 section 5.6.7; days from the civil calendar as in H. Hinnant,
 *          "chrono-compatible low-level date algorithms": years counted from March, in eras of 400.
 */
#include "policies/cache/http_date.h"

#include "policies/ascii.h"

#include <string.h>

#define SECONDS_A_DAY 86400
#define UNIX_S_MAX INT64_C(253402300799) /* the last second of the year 9999 */

static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char day_names[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char *const long_day_names[7] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                              "Thursday", "Friday", "Saturday"};

/* What is left to read; once something did not fit, is_good stays false. */
struct cursor {
    const char *at;
    const char *end;
    bool is_good;
};

struct civil {
    int year;
    int month; /* 1-12 */
    int day;   /* 1-31 */
    int hour;
    int minute;
    int second;
};

static bool skip(struct cursor *c, const char *literal)
{
    size_t len = strlen(literal);
    if ((size_t)(c->end - c->at) < len || !fg_ascii_equal(c->at, literal, len))
        return false;
    c->at += len;
    return true;
}

static void expect(struct cursor *c, const char *literal)
{
    if (!skip(c, literal))
        c->is_good = false;
}

static int digits(struct cursor *c, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        if (c->at == c->end || *c->at < '0' || *c->at > '9') {
            c->is_good = false;
            return 0;
        }
        value = value * 10 + (*c->at++ - '0');
    }
    return value;
}

static int month(struct cursor *c)
{
    for (int i = 0; i < 12; i++) {
        if (skip(c, month_names[i]))
            return i + 1;
    }
    c->is_good = false;
    return 0;
}

static void time_of_day(struct cursor *c, struct civil *date)
{
    date->hour = digits(c, 2);
    expect(c, ":");
    date->minute = digits(c, 2);
    expect(c, ":");
    date->second = digits(c, 2);
}

/* After "Sun": ", 06 Nov 1994 08:49:37 GMT" */
static void imf_fixdate(struct cursor *c, struct civil *date)
{
    expect(c, ", ");
    date->day = digits(c, 2);
    expect(c, " ");
    date->month = month(c);
    expect(c, " ");
    date->year = digits(c, 4);
    expect(c, " ");
    time_of_day(c, date);
    expect(c, " GMT");
}

static int64_t days_from_civil(int64_t year, int month_number, int day)
{
    year -= month_number <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month_number + (month_number > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static struct civil civil_from_days(int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    int month_number = (int)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    return (struct civil){
        .year = (int)(year_of_era + era * 400 + (month_number <= 2)),
        .month = month_number,
        .day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1),
    };
}

/* Seconds since 1970, leaving a leap second to be the first of the next minute. */
static int64_t seconds_of(const struct civil *date)
{
    int64_t days = days_from_civil(date->year, date->month, date->day);
    return days * SECONDS_A_DAY + date->hour * 3600 + date->minute * 60 + date->second;
}

/* RFC 850 years have two digits: the latest such year that is not over 50 years ahead. */
static int full_year(struct civil date, int64_t now_s)
{
    int64_t now_days = now_s / SECONDS_A_DAY - (now_s % SECONDS_A_DAY < 0);
    struct civil limit = civil_from_days(now_days);
    limit.year += 50;
    date.year += limit.year - limit.year % 100;
    int64_t second_of_day = now_s - now_days * SECONDS_A_DAY;
    if (seconds_of(&date) > seconds_of(&limit) + second_of_day)
        date.year -= 100;
    return date.year;
}

/* After "Sunday": ", 06-Nov-94 08:49:37 GMT" */
static void rfc850_date(struct cursor *c, struct civil *date, int64_t now_s)
{
    expect(c, ", ");
    date->day = digits(c, 2);
    expect(c, "-");
    date->month = month(c);
    expect(c, "-");
    date->year = digits(c, 2);
    expect(c, " ");
    time_of_day(c, date);
    expect(c, " GMT");
    if (c->is_good)
        date->year = full_year(*date, now_s);
}

/* After "Sun": " Nov  6 08:49:37 1994" */
static void asctime_date(struct cursor *c, struct civil *date)
{
    expect(c, " ");
    date->month = month(c);
    expect(c, " ");
    date->day = skip(c, " ") ? digits(c, 1) : digits(c, 2);
    expect(c, " ");
    time_of_day(c, date);
    expect(c, " ");
    date->year = digits(c, 4);
}

static bool exists(const struct civil *date)
{
    static const int month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (date->year % 4 == 0 && date->year % 100 != 0) || date->year % 400 == 0;
    int last = month_days[date->month - 1] + (date->month == 2 && is_leap);
    return date->day >= 1 && date->day <= last && date->hour <= 23 && date->minute <= 59 &&
           date->second <= 60;
}

bool fg_http_date_parse(const char *text, size_t len, int64_t now_s, int64_t *unix_s)
{
    if (len == 0)
        return false;
    struct cursor c = {text, text + len, true};
    struct civil date = {0};
    int weekday = 0;
    while (weekday < 7 && !skip(&c, day_names[weekday]))
        weekday++;
    if (weekday == 7)
        return false;
    if (c.at != c.end && *c.at == ',')
        imf_fixdate(&c, &date);
    else if (c.at != c.end && *c.at == ' ')
        asctime_date(&c, &date);
    else if (skip(&c, long_day_names[weekday] + 3))
        rfc850_date(&c, &date, now_s);
    else
        return false;
    if (!c.is_good || c.at != c.end || !exists(&date))
        return false;
    *unix_s = seconds_of(&date);
    return true;
}

static char *put_digits(char *at, int value, int count)
{
    for (int i = count - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + count;
}

static char *put(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}

void fg_http_date_format(int64_t unix_s, char text[FG_HTTP_DATE_BYTES])
{
    if (unix_s < 0)
        unix_s = 0;
    if (unix_s > UNIX_S_MAX)
        unix_s = UNIX_S_MAX;
    int64_t days = unix_s / SECONDS_A_DAY;
    int second = (int)(unix_s % SECONDS_A_DAY);
    struct civil date = civil_from_days(days);
    char *at = put(text, day_names[(days + 4) % 7], 3); /* 1 January 1970 was a Thursday */
    at = put(at, ", ", 2);
    at = put_digits(at, date.day, 2);
    at = put(at, " ", 1);
    at = put(at, month_names[date.month - 1], 3);
    at = put(at, " ", 1);
    at = put_digits(at, date.year, 4);
    at = put(at, " ", 1);
    at = put_digits(at, second / 3600, 2);
    at = put(at, ":", 1);
    at = put_digits(at, second / 60 % 60, 2);
    at = put(at, ":", 1);
    at = put_digits(at, second % 60, 2);
    put(at, " GMT", sizeof(" GMT"));
}
