/*
 * target.c: one look decides whether the path is normal already, as nearly all are; if not, one
 * pass writes the normal form.
 */
#include "http/target.h"

/* What a byte of a path means for us. */
enum { PLAIN, BAD, SLASH, DOT, PERCENT };

/* Spaces, controls and bytes from 0x7f up are BAD; so are '#' and '\\'. '?' never gets here. */
static const unsigned char classes[256] = {
    [0x00 ... 0x20] = BAD, ['#'] = BAD,  ['%'] = PERCENT,       ['.'] = DOT,
    ['/'] = SLASH,         ['\\'] = BAD, [0x7f ... 0xff] = BAD,
};

static bool is_query_valid(struct fg_span query)
{
    for (size_t i = 0; i < query.len; i++) {
        unsigned char c = (unsigned char)query.data[i];
        if (c <= 0x20 || c >= 0x7f || c == '#')
            return false;
    }
    return true;
}

/* Is it valid, and does it hold nothing that normalising could change? */
static bool is_normal(struct fg_span path, bool *is_bad)
{
    bool changes = false;
    int before = PLAIN;
    *is_bad = false;
    for (size_t i = 0; i < path.len; i++) {
        int class = classes[(unsigned char)path.data[i]];
        if (class == BAD) {
            *is_bad = true;
            return false;
        }
        changes |= class == PERCENT || (before == SLASH && (class == SLASH || class == DOT));
        before = class;
    }
    return !changes;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_unreserved(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* -1: there is none. */
static int escaped_byte(const char *from, size_t left)
{
    if (left < 3 || from[0] != '%')
        return -1;
    int high = hex_value(from[1]);
    int low = hex_value(from[2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/*
 * Does `first` begin a sequence that says in more bytes what fewer could? In no other encoding
 * would these two stand together: in Latin-1 the second one is a control, or behind A with an
 * accent a sign.
 */
static bool is_overlong(int first, int second)
{
    static const struct {
        unsigned char from, to; /* first bytes */
        unsigned char last;     /* second ones, from 0x80 to this */
    } forms[] = {
        {0xc0, 0xc1, 0xbf}, {0xe0, 0xe0, 0x9f}, {0xf0, 0xf0, 0x8f},
        {0xf8, 0xf8, 0x87}, {0xfc, 0xfc, 0x83},
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (first >= forms[i].from && first <= forms[i].to)
            return second >= 0x80 && second <= forms[i].last;
    }
    return false;
}

/* Writes the escape at `from` (3 bytes) decoded or in upper case; 0 when it is refused. */
static size_t put_escape(const char *from, size_t left, unsigned kept, char *to)
{
    static const char digits[] = "0123456789ABCDEF";
    int c = escaped_byte(from, left);
    if (c < 0)
        return 0;
    bool is_kept = ((c == '/' || c == '\\') && (kept & FG_TARGET_KEEP_SLASH) != 0) ||
                   (c == 0 && (kept & FG_TARGET_KEEP_NUL) != 0);
    if ((c < 0x20 || c == 0x7f || c == '/' || c == '\\') && !is_kept)
        return 0;
    if (c >= 0xc0 && (kept & FG_TARGET_KEEP_OVERLONG) == 0 &&
        is_overlong(c, escaped_byte(from + 3, left - 3)))
        return 0;
    if (is_unreserved(c)) {
        to[0] = (char)c;
        return 1;
    }
    to[0] = '%';
    to[1] = digits[c / 16];
    to[2] = digits[c % 16];
    return 3;
}

/*
 * "..;x" is ".." to servers that take parameters off a segment, before or after they decode it,
 * behind all that was decided by the path: /a/..;/admin is their /admin.
 */
static bool is_dots_with_parameter(const char *segment, size_t len)
{
    size_t dots = 0;
    while (dots < 2 && dots < len && segment[dots] == '.')
        dots++;
    struct fg_span rest = fg_span_make(segment + dots, len - dots);
    return dots > 0 &&
           (fg_span_starts_with(rest, FG_SPAN(";")) || fg_span_starts_with(rest, FG_SPAN("%3B")));
}

/*
 * The segment that ends at `end` (behind its last byte) begins behind the last slash: "" and "."
 * vanish, ".." takes its parent along. Returns the new end, which is behind a slash, or NULL when
 * there is no parent, or others might see one.
 */
static char *close_segment(char *begin, char *end)
{
    char *segment = end;
    while (segment[-1] != '/')
        segment--;
    size_t len = (size_t)(end - segment);
    if (len == 0 || (len == 1 && segment[0] == '.'))
        return segment;
    if (is_dots_with_parameter(segment, len))
        return NULL;
    if (len != 2 || segment[0] != '.' || segment[1] != '.') {
        *end = '/';
        return end + 1;
    }
    if (segment == begin + 1)
        return NULL;
    segment--;
    while (segment[-1] != '/')
        segment--;
    return segment;
}

/* `out` has room for path.len + 1 bytes. Returns the length, 0 when the path is refused. */
static size_t normalise(struct fg_span path, unsigned kept, char *out)
{
    char *end = out;
    *end++ = '/';
    for (size_t i = 1; i < path.len; i++) {
        char c = path.data[i];
        if (c == '%') {
            size_t put = put_escape(path.data + i, path.len - i, kept, end);
            if (put == 0)
                return 0;
            end += put;
            i += 2;
        } else if (c == '/') {
            end = close_segment(out, end);
            if (end == NULL)
                return 0;
        } else {
            *end++ = c;
        }
    }
    /* The last segment, without a slash of its own behind it. */
    char *closed = close_segment(out, end);
    if (closed == NULL)
        return 0;
    return (size_t)((closed == end + 1 ? end : closed) - out);
}

static enum fg_status parse_path(struct fg_span path, unsigned kept, struct fg_arena *arena,
                                 struct fg_span *out)
{
    bool is_bad;
    if (path.len == 0 || path.data[0] != '/')
        return FG_ERR_INVALID;
    if (is_normal(path, &is_bad)) {
        *out = path;
        return FG_OK;
    }
    if (is_bad)
        return FG_ERR_INVALID;
    char *normal = fg_arena_try_alloc(arena, path.len + 1);
    if (normal == NULL)
        return FG_ERR_NO_MEMORY;
    size_t len = normalise(path, kept, normal);
    if (len == 0)
        return FG_ERR_INVALID;
    *out = fg_span_make(normal, len);
    return FG_OK;
}

/* Takes "http://host" off the front of an absolute target. */
static bool cut_origin(struct fg_span *raw, struct fg_target *target)
{
    static const struct fg_span schemes[] = {FG_SPAN_LITERAL("http"), FG_SPAN_LITERAL("https")};
    for (size_t i = 0; i < 2; i++) {
        size_t len = schemes[i].len;
        if (raw->len < len + 3 || memcmp(raw->data + len, "://", 3) != 0 ||
            !fg_span_equal_nocase(fg_span_make(raw->data, len), schemes[i]))
            continue;
        const char *host = raw->data + len + 3;
        const char *end = raw->data + raw->len;
        const char *at = host;
        while (at < end && *at != '/' && *at != '?')
            at++;
        target->scheme = schemes[i];
        target->authority = fg_span_make(host, (size_t)(at - host));
        *raw = fg_span_make(at, (size_t)(end - at));
        return true;
    }
    return false;
}

enum fg_status fg_target_parse(struct fg_span raw, enum fg_method method, unsigned kept,
                               struct fg_arena *arena, struct fg_target *target)
{
    *target = (struct fg_target){0};
    if (raw.len == 1 && raw.data[0] == '*') {
        target->path = raw;
        return method == FG_METHOD_OPTIONS ? FG_OK : FG_ERR_INVALID;
    }
    if (raw.len == 0 || (raw.data[0] != '/' && !cut_origin(&raw, target)))
        return FG_ERR_INVALID;
    const char *mark = raw.len == 0 ? NULL : memchr(raw.data, '?', raw.len);
    struct fg_span path = raw;
    if (mark != NULL) {
        path.len = (size_t)(mark - raw.data);
        target->query = fg_span_make(mark + 1, raw.len - path.len - 1);
        if (!is_query_valid(target->query))
            return FG_ERR_INVALID;
    }
    bool is_bare = path.len == 0 && target->authority.data != NULL;
    if (is_bare && mark == NULL && method == FG_METHOD_OPTIONS) {
        target->path = FG_SPAN("*"); /* RFC 9112 section 3.2.4 */
        return FG_OK;
    }
    if (is_bare)
        path = FG_SPAN("/");
    return parse_path(path, kept, arena, &target->path);
}
