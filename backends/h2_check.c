/*
 * h2_check.c: names by table and length, values byte by byte; what is seen, in bits.
 *
 * These are the rules of nghttp2 1.52, which other servers and clients live by; the unit test runs
 * it beside them. It is a little stricter than the RFC on authorities, where nothing but what a URI
 * may have can stand, and lets two lists of Priority through, which are merged. A status is
 * one from 100 to 599 for us, any three digits for nghttp2.
 */
#include "backends/h2_check.h"

#include "base/field_text.h"

#include <assert.h>

enum seen {
    SEEN_METHOD = 1u << FG_H2_METHOD,
    SEEN_SCHEME = 1u << FG_H2_SCHEME,
    SEEN_AUTHORITY = 1u << FG_H2_AUTHORITY,
    SEEN_PATH = 1u << FG_H2_PATH,
    SEEN_PROTOCOL = 1u << FG_H2_PROTOCOL,
    SEEN_STATUS = 1u << FG_H2_STATUS,
    SEEN_HOST = 1u << FG_H2_HOST,
    /* no bits of kinds */
    SEEN_REGULAR = 1u << 16, /* a field that is not a pseudo one: none of these may follow */
    SEEN_CONNECT = 1u << 17,
    SEEN_OPTIONS = 1u << 18,
    SEEN_HTTP = 1u << 19,     /* a scheme of ours */
    SEEN_SLASH = 1u << 20,    /* begins the path */
    SEEN_ASTERISK = 1u << 21, /* is the path */
};

_Static_assert(FG_H2_PLAIN < 16, "kinds and other bits do not meet");
_Static_assert(FG_H2_PLAIN + FG_FIELD_TRAILER < FG_H2_VALUE_BAD, "a note has room for the kind");

static enum fg_h2_kind kind_of_pseudo(struct fg_span name)
{
    if (fg_span_equal(name, FG_SPAN(":path")))
        return FG_H2_PATH;
    if (fg_span_equal(name, FG_SPAN(":method")))
        return FG_H2_METHOD;
    if (fg_span_equal(name, FG_SPAN(":scheme")))
        return FG_H2_SCHEME;
    if (fg_span_equal(name, FG_SPAN(":authority")))
        return FG_H2_AUTHORITY;
    if (fg_span_equal(name, FG_SPAN(":protocol")))
        return FG_H2_PROTOCOL;
    if (fg_span_equal(name, FG_SPAN(":status")))
        return FG_H2_STATUS;
    return FG_H2_BAD;
}

enum fg_h2_kind fg_h2_kind_of(struct fg_span name)
{
    if (name.len > 0 && name.data[0] == ':')
        return kind_of_pseudo(name);
    if (!fg_field_name_is_lower(name))
        return FG_H2_BAD;
    enum fg_field_id id = fg_field_identify(name);
    switch (id) {
    case FG_FIELD_HOST:
        return FG_H2_HOST;
    case FG_FIELD_CONTENT_LENGTH:
        return FG_H2_CONTENT_LENGTH;
    case FG_FIELD_TE:
        return FG_H2_TE;
    case FG_FIELD_CONNECTION:
    case FG_FIELD_KEEP_ALIVE:
    case FG_FIELD_PROXY_CONNECTION:
    case FG_FIELD_TRANSFER_ENCODING:
    case FG_FIELD_UPGRADE:
        return FG_H2_BAD;
    default:
        break;
    }
    if (fg_span_equal(name, FG_SPAN("priority")))
        return FG_H2_PRIORITY;
    return (enum fg_h2_kind)(FG_H2_PLAIN + (unsigned)id);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_scheme(struct fg_span value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        bool is_fine = is_letter(c) || (i > 0 && (is_digit(c) || c == '+' || c == '-' || c == '.'));
        if (!is_fine)
            return false;
    }
    return value.len > 0;
}

static bool is_path(struct fg_span value)
{
    return value.len > 0 && fg_span_find_control(value) == value.len &&
           memchr(value.data, ' ', value.len) == NULL;
}

/* What an authority of RFC 3986 may hold, but for an escape's digits, which are not looked at. */
static bool is_authority(struct fg_span value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (!is_letter(c) && !is_digit(c) &&
            (c == '\0' || strchr("!$%&'()*+,-.:;=@[]_~", c) == NULL))
            return false;
    }
    return value.len > 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_value(struct fg_span value)
{
    if (value.len > 0 && (is_blank(value.data[0]) || is_blank(value.data[value.len - 1])))
        return false;
    return fg_field_value_is_valid(value);
}

static bool parse_length(struct fg_span value, int64_t *length)
{
    uint64_t number;
    if (!fg_span_parse_u64(value, &number) || number > INT64_MAX)
        return false;
    *length = (int64_t)number;
    return true;
}

/* 101 is none of HTTP/2's (RFC 9113 section 8.6). */
static bool is_status(struct fg_span value)
{
    return value.len == 3 && value.data[0] >= '1' && value.data[0] <= '5' &&
           is_digit(value.data[1]) && is_digit(value.data[2]) &&
           !fg_span_equal(value, FG_SPAN("101"));
}

static bool is_value_of(enum fg_h2_kind kind, struct fg_span value)
{
    int64_t length;
    switch (kind) {
    case FG_H2_METHOD:
        return fg_is_token(value);
    case FG_H2_SCHEME:
        return is_scheme(value);
    case FG_H2_AUTHORITY:
    case FG_H2_HOST:
        return is_authority(value);
    case FG_H2_PATH:
        return is_path(value);
    case FG_H2_PROTOCOL:
        return value.len > 0 && is_value(value);
    case FG_H2_STATUS:
        return is_status(value);
    case FG_H2_CONTENT_LENGTH:
        return parse_length(value, &length);
    case FG_H2_TE:
        return fg_span_equal_nocase(value, FG_SPAN("trailers"));
    case FG_H2_UNKNOWN:
    case FG_H2_BAD:
        return false;
    default:
        return is_value(value);
    }
}

uint8_t fg_h2_note_of(enum fg_h2_kind kind, struct fg_span value)
{
    assert(kind != FG_H2_UNKNOWN);
    return (uint8_t)(kind | (is_value_of(kind, value) ? 0 : FG_H2_VALUE_BAD));
}

uint8_t fg_h2_note_of_static(unsigned index)
{
    enum { BAD = FG_H2_BAD | FG_H2_VALUE_BAD };
    static const uint8_t others[] = {
        [1] = FG_H2_AUTHORITY | FG_H2_VALUE_BAD,
        [2] = FG_H2_METHOD,
        [3] = FG_H2_METHOD,
        [4] = FG_H2_PATH,
        [5] = FG_H2_PATH,
        [6] = FG_H2_SCHEME,
        [7] = FG_H2_SCHEME,
        [8] = FG_H2_STATUS,
        [9] = FG_H2_STATUS,
        [10] = FG_H2_STATUS,
        [11] = FG_H2_STATUS,
        [12] = FG_H2_STATUS,
        [13] = FG_H2_STATUS,
        [14] = FG_H2_STATUS,
        [28] = FG_H2_CONTENT_LENGTH | FG_H2_VALUE_BAD,
        [32] = FG_H2_PLAIN + FG_FIELD_COOKIE,
        [35] = FG_H2_PLAIN + FG_FIELD_EXPECT,
        [38] = FG_H2_HOST | FG_H2_VALUE_BAD,
        [57] = BAD, /* transfer-encoding */
    };
    bool is_other = index < sizeof(others) && others[index] != FG_H2_UNKNOWN;
    return is_other ? others[index] : FG_H2_PLAIN + FG_FIELD_OTHER;
}

uint8_t fg_h2_note_of_item(const struct fg_hpack_item *item)
{
    if (item->static_index != 0)
        return fg_h2_note_of_static(item->static_index);
    if (item->note != NULL && *item->note != FG_H2_UNKNOWN)
        return *item->note;
    uint8_t name_note =
        item->static_name != 0 ? fg_h2_note_of_static(item->static_name) : item->name_note;
    enum fg_h2_kind kind = fg_h2_kind_of_note(name_note);
    if (kind == FG_H2_UNKNOWN)
        kind = fg_h2_kind_of(item->name);
    uint8_t note = fg_h2_note_of(kind, item->value);
    if (item->note != NULL)
        *item->note = note;
    return note;
}

enum fg_field_id fg_h2_id_of_kind(enum fg_h2_kind kind)
{
    switch (kind) {
    case FG_H2_HOST:
        return FG_FIELD_HOST;
    case FG_H2_CONTENT_LENGTH:
        return FG_FIELD_CONTENT_LENGTH;
    case FG_H2_TE:
        return FG_FIELD_TE;
    case FG_H2_PRIORITY:
        return FG_FIELD_OTHER;
    default:
        assert(kind >= FG_H2_PLAIN);
        return (enum fg_field_id)((unsigned)kind - FG_H2_PLAIN);
    }
}

/* Each of them once, and a pseudo field before all others. */
static bool note_single(struct fg_h2_check *check, enum fg_h2_kind kind, uint32_t more)
{
    uint32_t bit = 1u << kind;
    bool is_late = kind != FG_H2_HOST && (check->seen & SEEN_REGULAR) != 0;
    if ((check->seen & bit) != 0 || is_late)
        return false;
    check->seen |= bit | more;
    return true;
}

static uint32_t bits_of_method(struct fg_span method)
{
    if (method.len != 7)
        return 0;
    if (fg_span_equal(method, FG_SPAN("CONNECT")))
        return SEEN_CONNECT;
    return fg_span_equal(method, FG_SPAN("OPTIONS")) ? SEEN_OPTIONS : 0;
}

static uint32_t bits_of_scheme(struct fg_span scheme)
{
    return fg_span_equal_nocase(scheme, FG_SPAN("https")) ||
                   fg_span_equal_nocase(scheme, FG_SPAN("http"))
               ? SEEN_HTTP
               : 0;
}

static uint32_t bits_of_path(struct fg_span path)
{
    if (path.data[0] == '/')
        return SEEN_SLASH;
    return fg_span_equal(path, FG_SPAN("*")) ? SEEN_ASTERISK : 0;
}

bool fg_h2_check_field(struct fg_h2_check *check, uint8_t note, struct fg_span value,
                       bool is_trailer)
{
    enum fg_h2_kind kind = fg_h2_kind_of_note(note);
    if ((note & FG_H2_VALUE_BAD) != 0)
        return false;
    if (kind > FG_H2_CONTENT_LENGTH) {
        check->seen |= SEEN_REGULAR;
        return true;
    }
    switch (kind) {
    case FG_H2_METHOD:
        return !is_trailer && note_single(check, kind, bits_of_method(value));
    case FG_H2_SCHEME:
        return !is_trailer && note_single(check, kind, bits_of_scheme(value));
    case FG_H2_PATH:
        return !is_trailer && note_single(check, kind, bits_of_path(value));
    case FG_H2_AUTHORITY:
    case FG_H2_PROTOCOL:
        return !is_trailer && note_single(check, kind, 0);
    case FG_H2_HOST:
        return note_single(check, kind, SEEN_REGULAR);
    case FG_H2_CONTENT_LENGTH:
        check->seen |= SEEN_REGULAR;
        return check->content_length == -1 && parse_length(value, &check->content_length);
    default:
        return false;
    }
}

bool fg_h2_check_answer_field(struct fg_h2_check *check, uint8_t note, struct fg_span value,
                              bool is_trailer)
{
    enum fg_h2_kind kind = fg_h2_kind_of_note(note);
    bool is_fine = (note & FG_H2_VALUE_BAD) == 0;
    switch (kind) {
    case FG_H2_STATUS:
        if (!is_fine || is_trailer || !note_single(check, kind, 0))
            return false;
        check->status = (unsigned)(value.data[0] - '0') * 100 +
                        (unsigned)(value.data[1] - '0') * 10 + (unsigned)(value.data[2] - '0');
        return true;
    case FG_H2_HOST: /* which means nothing there, and may say anything */
        check->seen |= SEEN_REGULAR;
        return is_fine || is_value(value);
    case FG_H2_CONTENT_LENGTH:
        check->seen |= SEEN_REGULAR;
        return is_fine && check->content_length == -1 &&
               parse_length(value, &check->content_length);
    default:
        check->seen |= SEEN_REGULAR;
        return is_fine && kind > FG_H2_CONTENT_LENGTH;
    }
}

static bool has(const struct fg_h2_check *check, uint32_t bits)
{
    return (check->seen & bits) == bits;
}

/* The parts of a request, but of a CONNECT that asks for no protocol (RFC 9113 section 8.5). */
static bool is_whole(const struct fg_h2_check *check)
{
    bool is_named = has(check, SEEN_AUTHORITY) || has(check, SEEN_HOST);
    if (!has(check, SEEN_METHOD | SEEN_SCHEME | SEEN_PATH) || !is_named)
        return false;
    if (has(check, SEEN_PROTOCOL) && !has(check, SEEN_CONNECT | SEEN_AUTHORITY))
        return false;
    return !has(check, SEEN_HTTP) || has(check, SEEN_SLASH) ||
           has(check, SEEN_OPTIONS | SEEN_ASTERISK);
}

bool fg_h2_check_has_known_scheme(const struct fg_h2_check *check)
{
    return has(check, SEEN_HTTP);
}

bool fg_h2_check_head(struct fg_h2_check *check, bool is_end)
{
    if (has(check, SEEN_CONNECT) && !has(check, SEEN_PROTOCOL)) {
        check->content_length = -1;
        return has(check, SEEN_AUTHORITY) && (check->seen & (SEEN_SCHEME | SEEN_PATH)) == 0;
    }
    return is_whole(check) && (!is_end || fg_h2_check_end(check));
}

/*
 * RFC 9110 section 6.4.1, RFC 9113 section 8.1. An answer without content by its kind may say a
 * length all the same (section 8.1.1); that it should not (RFC 9110 section 8.6) is its server's
 * affair.
 */
bool fg_h2_check_answer_head(struct fg_h2_check *check, bool is_end, enum fg_h2_asked asked)
{
    if (!has(check, SEEN_STATUS))
        return false;
    if (check->status < 200)
        return !is_end;
    if (asked == FG_H2_ASKED_HEAD || check->status == 204 || check->status == 304)
        check->content_length = 0;
    else if (asked == FG_H2_ASKED_TUNNEL && check->status < 300)
        check->content_length = -1;
    return !is_end || fg_h2_check_end(check);
}

bool fg_h2_check_trailers(const struct fg_h2_check *check, bool is_end)
{
    return is_end && fg_h2_check_end(check);
}

bool fg_h2_check_content(struct fg_h2_check *check, size_t len)
{
    check->received += (int64_t)len;
    return check->content_length == -1 || check->received <= check->content_length;
}

bool fg_h2_check_end(const struct fg_h2_check *check)
{
    return check->content_length == -1 || check->received == check->content_length;
}
