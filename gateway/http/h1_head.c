/*
 * h1_head.c: finds the end of a head while checking its lines, then lets llhttp parse its fields.
 * Job      a head that is whole in the input is parsed in place; one that comes in pieces is
 *          collected.
 * Never    leaves a line end to interpretation: CR and LF come only together, no line is folded.
 * Memory   a collected head: one heap block of at most head_max() bytes, freed with the head.
 * Source   RFC 9112 sections 2.2, 3 and 5; llhttp in strict mode for the grammar.
 */
#include "http/h1_internal.h"

#include "config/config.h"
#include "http/fields.h"
#include "net/loop.h"

#include <assert.h>
#include <llhttp.h>
#include <stdlib.h>

#define BLANK_BYTES_MAX 8u
#define METHOD_AND_VERSION_MAX ((size_t)64)
#define HEAD_ROOM_FIRST ((size_t)2048)
#define VERSION_LEN ((size_t)9) /* " HTTP/1.1" */

static size_t head_max(const struct fg_limits_conf *limits)
{
    return METHOD_AND_VERSION_MAX + (size_t)limits->uri_bytes_max +
           (size_t)limits->header_bytes_max + 8 * (size_t)limits->header_count_max;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static enum fg_http_error check_request_line(struct fg_span line,
                                             const struct fg_limits_conf *limits)
{
    if (line.len > METHOD_AND_VERSION_MAX + limits->uri_bytes_max)
        return FG_HTTP_URI_TOO_LONG;
    if (line.len < VERSION_LEN)
        return FG_HTTP_MALFORMED;
    const char *version = line.data + line.len - VERSION_LEN;
    if (memcmp(version, " HTTP/", 6) != 0 || !is_digit(version[6]) || version[7] != '.' ||
        !is_digit(version[8]))
        return FG_HTTP_MALFORMED;
    /* A minor version above ours is read as our highest (RFC 9110 section 2.5). */
    return version[6] == '1' ? FG_HTTP_OK : FG_HTTP_BAD_VERSION;
}

/* One line with its LF. */
static enum fg_http_error check_line(struct fg_span line, bool is_first,
                                     const struct fg_limits_conf *limits)
{
    if (line.len < 2 || line.data[line.len - 2] != '\r')
        return FG_HTTP_MALFORMED;
    line.len -= 2;
    if (line.len == 0)
        return is_first ? FG_HTTP_MALFORMED : FG_HTTP_OK;
    if (memchr(line.data, '\r', line.len) != NULL)
        return FG_HTTP_MALFORMED;
    if (is_first)
        return check_request_line(line, limits);
    return line.data[0] == ' ' || line.data[0] == '\t' ? FG_HTTP_BAD_FIELD : FG_HTTP_OK;
}

/*
 * Goes on scanning text[0..len). Returns the length of the head when it is complete, else 0.
 */
static size_t scan(struct fg_h1 *h1, const char *text, size_t len, enum fg_http_error *error)
{
    const struct fg_limits_conf *limits = h1->codec.transport->env->limits;
    while (h1->head_scanned < len) {
        const char *from = text + h1->head_scanned;
        const char *lf = memchr(from, '\n', len - h1->head_scanned);
        if (lf == NULL) {
            h1->head_scanned = len;
            bool is_first = h1->head_line == 0;
            if (is_first && len > METHOD_AND_VERSION_MAX + limits->uri_bytes_max)
                *error = FG_HTTP_URI_TOO_LONG;
            break;
        }
        const char *line = text + h1->head_line;
        size_t line_len = (size_t)(lf - line) + 1;
        *error = check_line(fg_span_make(line, line_len), h1->head_line == 0, limits);
        if (*error != FG_HTTP_OK)
            return 0;
        h1->head_line += line_len;
        h1->head_scanned = h1->head_line;
        if (line_len == 2)
            return h1->head_line;
    }
    return 0;
}

static bool collect(struct fg_h1 *h1, struct fg_span input, size_t max)
{
    if (h1->head_room - h1->head_len < input.len) {
        size_t room = h1->head_room == 0 ? HEAD_ROOM_FIRST : h1->head_room * 2;
        if (room < h1->head_len + input.len)
            room = h1->head_len + input.len;
        if (room > max)
            room = max;
        char *head = realloc(h1->head, room);
        if (head == NULL)
            return false;
        h1->head = head;
        h1->head_room = room;
    }
    memcpy(h1->head + h1->head_len, input.data, input.len);
    h1->head_len += input.len;
    return true;
}

static size_t collect_more(struct fg_h1 *h1, struct fg_span input, struct fg_span *head,
                           bool *is_complete, enum fg_http_error *error)
{
    size_t max = head_max(h1->codec.transport->env->limits);
    size_t before = h1->head_len;
    bool is_cut = input.len > max - before;
    if (is_cut)
        input.len = max - before;
    if (!collect(h1, input, max)) {
        *error = FG_HTTP_NO_MEMORY;
        return 0;
    }
    size_t end = scan(h1, h1->head, h1->head_len, error);
    if (*error != FG_HTTP_OK)
        return 0;
    if (end == 0) {
        if (is_cut || h1->head_len == max)
            *error = FG_HTTP_HEADER_TOO_LARGE;
        return input.len;
    }
    *head = fg_span_make(h1->head, end);
    *is_complete = true;
    return end - before;
}

/*
 * A few empty lines before a request are forgiven (RFC 9112 section 2.2), whole ones: a CR or LF
 * alone is no more a line's end here than elsewhere.
 */
static size_t skip_blank(struct fg_h1 *h1, struct fg_span input, enum fg_http_error *error)
{
    size_t at = 0;
    while (at < input.len) {
        bool is_after_cr = h1->blank_bytes % 2 == 1;
        char c = input.data[at];
        if (!is_after_cr && c != '\r' && c != '\n')
            break;
        if (c != (is_after_cr ? '\n' : '\r') || ++h1->blank_bytes > BLANK_BYTES_MAX) {
            *error = FG_HTTP_MALFORMED;
            break;
        }
        at++;
    }
    return at;
}

size_t fg_h1_head_collect(struct fg_h1 *h1, struct fg_span input, struct fg_span *head,
                          bool *is_complete, enum fg_http_error *error)
{
    *is_complete = false;
    *error = FG_HTTP_OK;
    if (h1->head_len > 0)
        return collect_more(h1, input, head, is_complete, error);
    size_t skipped = skip_blank(h1, input, error);
    if (*error != FG_HTTP_OK || skipped == input.len)
        return skipped;
    input = fg_span_make(input.data + skipped, input.len - skipped);
    h1->head_started_ns = fg_loop_now_ns(h1->codec.transport->env->loop);
    h1->head_line = 0;
    h1->head_scanned = 0;
    if (!fg_is_token(fg_span_make(input.data, 1))) {
        *error = FG_HTTP_MALFORMED; /* not HTTP at all: do not wait for more of it */
        return skipped;
    }
    size_t end = scan(h1, input.data, input.len, error);
    if (*error != FG_HTTP_OK)
        return skipped;
    if (end > 0) {
        *head = fg_span_make(input.data, end);
        *is_complete = true;
        return skipped + end;
    }
    h1->head_scanned = 0; /* once more over the copy, so that one place decides */
    h1->head_line = 0;
    return skipped + collect_more(h1, input, head, is_complete, error);
}

void fg_h1_head_clear(struct fg_h1 *h1)
{
    free(h1->head);
    h1->head = NULL;
    h1->head_len = 0;
    h1->head_room = 0;
    h1->head_scanned = 0;
    h1->head_line = 0;
    h1->blank_bytes = 0;
}

struct parse {
    struct fg_head *head;
    struct fg_span name;
    struct fg_span value;
    enum fg_http_error error;
};

/* llhttp gives a run in one piece, unless blanks behind it were left out; it stays one. */
static int extend(struct parse *parse, struct fg_span *span, const char *at, size_t len)
{
    if (len == 0)
        return HPE_OK;
    if (span->data == NULL)
        *span = fg_span_make(at, len);
    else if (span->data + span->len == at)
        span->len += len;
    else
        parse->error = FG_HTTP_BAD_FIELD;
    return parse->error == FG_HTTP_OK ? HPE_OK : HPE_USER;
}

static int on_name(llhttp_t *parser, const char *at, size_t len)
{
    struct parse *parse = parser->data;
    return extend(parse, &parse->name, at, len);
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct parse *parse = parser->data;
    return extend(parse, &parse->value, at, len);
}

static int on_value_complete(llhttp_t *parser)
{
    struct parse *parse = parser->data;
    if (parse->value.data == NULL)
        parse->value = FG_SPAN("");
    parse->error = fg_head_add(parse->head, parse->name, parse->value);
    parse->name = (struct fg_span){NULL, 0};
    parse->value = (struct fg_span){NULL, 0};
    return parse->error == FG_HTTP_OK ? HPE_OK : HPE_USER;
}

static int on_head_complete(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED;
}

/* The field that llhttp stumbled over is none that was added yet. */
static bool is_second_length(const struct parse *parse)
{
    return parse->head->content_length != -1 &&
           fg_span_equal_nocase(parse->name, FG_SPAN("content-length"));
}

static enum fg_http_error error_of(const llhttp_t *parser)
{
    switch (llhttp_get_errno(parser)) {
    case HPE_INVALID_HEADER_TOKEN:
        return FG_HTTP_BAD_FIELD;
    case HPE_INVALID_CONTENT_LENGTH:
        return FG_HTTP_BAD_LENGTH;
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return is_second_length(parser->data) ? FG_HTTP_BAD_LENGTH : FG_HTTP_BOTH_LENGTHS;
    case HPE_INVALID_TRANSFER_ENCODING:
        return FG_HTTP_BAD_CODING;
    default:
        return FG_HTTP_MALFORMED;
    }
}

/* "GET /path HTTP/1.1": exactly two blanks, the last of which check_request_line has found. */
static enum fg_http_error parse_request_line(struct fg_head *head, struct fg_span line)
{
    struct fg_span rest = fg_span_make(line.data, line.len - VERSION_LEN);
    enum fg_http_error error = fg_head_set_method(head, fg_span_split(&rest, ' '));
    if (error != FG_HTTP_OK)
        return error;
    if (rest.data == NULL || rest.len == 0 || memchr(rest.data, ' ', rest.len) != NULL)
        return FG_HTTP_MALFORMED;
    return fg_head_set_target(head, rest);
}

static size_t without_blanks(const char *text, const char *end)
{
    while (end > text && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return (size_t)(end - text);
}

/*
 * All of the fields, but for blanks at the end of a line in which there is a tab: llhttp takes none
 * behind a length or a coding (RFC 9110 section 5.5 has both around any value).
 */
static llhttp_errno_t run_parser(llhttp_t *parser, struct fg_span head)
{
    const char *end = head.data + head.len;
    const char *tab = head.data;
    while ((tab = memchr(tab, '\t', (size_t)(end - tab))) != NULL) {
        const char *line_end = tab; /* a head ends in LF */
        while (*line_end == ' ' || *line_end == '\t')
            line_end++;
        if (*line_end == '\r') {
            llhttp_errno_t result =
                llhttp_execute(parser, head.data, without_blanks(head.data, tab));
            if (result != HPE_OK)
                return result;
            head = fg_span_make(line_end, (size_t)(end - line_end));
        }
        tab = line_end;
    }
    return llhttp_execute(parser, head.data, head.len);
}

struct fg_h1_start {
    llhttp_t parser;
};

struct fg_h1_start *fg_h1_start_create(void)
{
    static const llhttp_settings_t settings = {
        .on_header_field = on_name,
        .on_header_value = on_value,
        .on_header_value_complete = on_value_complete,
        .on_headers_complete = on_head_complete,
    };
    /* It knows the methods of a list, and stops at a target that is none: of the request's own line
     * all is known, and what stands behind it is to be read whatever the target is. */
    static const char any_line[] = "GET / HTTP/1.1\r\n";
    struct fg_h1_start *start = malloc(sizeof(*start));
    if (start == NULL)
        return NULL;
    llhttp_init(&start->parser, HTTP_REQUEST, &settings);
    llhttp_errno_t result = llhttp_execute(&start->parser, any_line, sizeof(any_line) - 1);
    assert(result == HPE_OK);
    return start;
}

void fg_h1_start_destroy(struct fg_h1_start *start)
{
    free(start);
}

enum fg_http_error fg_h1_head_parse(struct fg_stream *stream, struct fg_span head)
{
    const char *lf = memchr(head.data, '\n', head.len);
    struct fg_span line = fg_span_make(head.data, (size_t)(lf - head.data) - 1);
    enum fg_http_error error = parse_request_line(&stream->head, line);
    if (error != FG_HTTP_OK)
        return error;
    stream->req.version = line.data[line.len - 1] == '0' ? FG_HTTP_1_0 : FG_HTTP_1_1;
    struct parse parse = {.head = &stream->head};
    llhttp_t parser = stream->codec->transport->env->h1_start->parser;
    parser.data = &parse;
    llhttp_errno_t result = run_parser(&parser, fg_span_make(lf + 1, head.len - line.len - 2));
    if (parse.error != FG_HTTP_OK)
        return parse.error;
    return result == HPE_PAUSED ? FG_HTTP_OK : error_of(&parser);
}
