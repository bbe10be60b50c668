/*
 * upstream_response.c: a byte scanner finds the end of the head and refuses what llhttp would let
 * pass (8.1 takes a bare CR for a line end); the head is then one piece in the arena, parsed once,
 * lower-cased in place, and all fields point into it.
 */
#include "upstream_response.h"

#include <assert.h>
#include <llhttp.h>

#define FIELDS_MAX ((size_t)256)
#define INTERIM_MAX ((size_t)16)
#define HEAD_BYTES_FIRST ((size_t)1024)
#define VERSION_BYTES ((size_t)7) /* of "HTTP/1.", which every answer begins with */

enum { HEAD, BODY, DONE, BAD };

/* llhttp's callbacks, for one head. */
struct head_parse {
    struct fg_upstream_response *response;
    struct fg_span name;
    struct fg_span value;
    size_t fields_max;
};

static enum fg_upstream_result bad(struct fg_upstream_response *response, const char *error)
{
    response->state = BAD;
    response->error = error;
    return FG_UPSTREAM_BAD;
}

/* ---- finding the end of the head ---- */

enum scan { SCAN_MORE, SCAN_END, SCAN_BAD };

static const char *check_byte(const struct fg_upstream_response *response, unsigned char c)
{
    static const char start[VERSION_BYTES] = {'H', 'T', 'T', 'P', '/', '1', '.'};
    if (response->line_count == 0 && response->line_len < VERSION_BYTES &&
        c != (unsigned char)start[response->line_len])
        return "the answer is not HTTP/1";
    if ((c < 0x20 && c != '\t') || c == 0x7f)
        return "a control character in the head";
    if (response->line_count > 0 && response->line_len == 0 && (c == ' ' || c == '\t'))
        return "a folded line in the head";
    return NULL;
}

/* Where only a control byte is of interest. */
static bool is_inside_line(const struct fg_upstream_response *response)
{
    return !response->is_after_cr &&
           response->line_len >= (response->line_count == 0 ? VERSION_BYTES : 1);
}

/* *used is how much of the input belongs to this head. */
static enum scan scan_head(struct fg_upstream_response *response, struct fg_span input,
                           size_t *used)
{
    for (size_t i = 0; i < input.len; i++) {
        if (is_inside_line(response)) {
            size_t plain = fg_span_find_control(fg_span_make(input.data + i, input.len - i));
            response->line_len += plain;
            i += plain;
            if (i == input.len)
                break;
        }
        unsigned char c = (unsigned char)input.data[i];
        if (response->is_after_cr) {
            if (c != '\n') {
                response->error = "a bare CR in the head";
                return SCAN_BAD;
            }
            response->is_after_cr = false;
            *used = i + 1;
            if (response->line_len == 0)
                return SCAN_END;
            response->line_len = 0;
            response->line_count++;
        } else if (c == '\r' && (response->line_len > 0 || response->line_count > 0)) {
            response->is_after_cr = true;
        } else {
            response->error = check_byte(response, c);
            if (response->error != NULL)
                return SCAN_BAD;
            response->line_len++;
        }
    }
    *used = input.len;
    return SCAN_MORE;
}

static bool append_head(struct fg_upstream_response *response, struct fg_span part, bool is_end)
{
    size_t wanted = response->head_len + part.len;
    if (wanted > response->head_capacity) {
        size_t capacity = response->head_capacity * 2;
        if (capacity < wanted)
            capacity = wanted;
        if (!is_end && capacity < HEAD_BYTES_FIRST)
            capacity = HEAD_BYTES_FIRST;
        char *grown = fg_arena_try_alloc(response->arena, capacity);
        if (grown == NULL)
            return false;
        if (response->head_len > 0)
            memcpy(grown, response->head, response->head_len);
        response->head = grown;
        response->head_capacity = capacity;
    }
    memcpy(response->head + response->head_len, part.data, part.len);
    response->head_len = wanted;
    return true;
}

/* ---- taking it apart ---- */

/* llhttp may hand a span over in parts that follow each other: the head is one piece. */
static int extend(struct fg_span *span, const char *at, size_t len)
{
    if (span->data == NULL)
        *span = fg_span_make(at, len);
    else
        span->len = (size_t)(at + len - span->data);
    return 0;
}

static int on_name(llhttp_t *parser, const char *at, size_t len)
{
    struct head_parse *parse = parser->data;
    return extend(&parse->name, at, len);
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct head_parse *parse = parser->data;
    return extend(&parse->value, at, len);
}

static int on_field_complete(llhttp_t *parser)
{
    struct head_parse *parse = parser->data;
    struct fg_upstream_response *response = parse->response;
    if (response->field_count >= parse->fields_max || parse->name.len == 0)
        return -1;
    char *name = response->head + (parse->name.data - response->head);
    for (size_t i = 0; i < parse->name.len; i++) {
        if (name[i] >= 'A' && name[i] <= 'Z')
            name[i] = (char)(name[i] | 0x20);
    }
    response->fields[response->field_count++] =
        (struct fg_field){parse->name, fg_span_trim(parse->value)};
    parse->name = (struct fg_span){NULL, 0};
    parse->value = (struct fg_span){NULL, 0};
    return 0;
}

static int on_head_complete(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED; /* the body is ours */
}

static const llhttp_settings_t settings = {
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_header_value_complete = on_field_complete,
    .on_headers_complete = on_head_complete,
};

/* What the fields say about the body and the connection. */
struct head_facts {
    size_t length_count;
    size_t coding_count;
    bool is_chunked;
    bool is_length_bad;
    bool has_close;
    bool has_keep_alive;
    bool has_upgrade;  /* Connection: upgrade */
    bool is_websocket; /* Upgrade: websocket */
    bool names_others; /* Connection names fields to be dropped */
};

static void read_connection(struct fg_span list, struct head_facts *facts)
{
    while (list.data != NULL) {
        struct fg_span token = fg_span_trim(fg_span_split(&list, ','));
        if (fg_span_equal_nocase(token, FG_SPAN("close")))
            facts->has_close = true;
        else if (fg_span_equal_nocase(token, FG_SPAN("keep-alive")))
            facts->has_keep_alive = true;
        else if (fg_span_equal_nocase(token, FG_SPAN("upgrade")))
            facts->has_upgrade = true;
        else if (token.len > 0)
            facts->names_others = true;
    }
}

static void read_fields(struct fg_upstream_response *response, struct head_facts *facts)
{
    for (size_t i = 0; i < response->field_count; i++) {
        struct fg_field *field = &response->fields[i];
        if (fg_span_equal(field->name, FG_SPAN("content-length"))) {
            uint64_t length = 0;
            facts->length_count++;
            if (!fg_span_parse_u64(field->value, &length) || length > INT64_MAX / 2)
                facts->is_length_bad = true;
            response->content_length = (int64_t)length;
        } else if (fg_span_equal(field->name, FG_SPAN("transfer-encoding"))) {
            facts->coding_count++;
            facts->is_chunked = fg_span_equal_nocase(field->value, FG_SPAN("chunked"));
        } else if (fg_span_equal(field->name, FG_SPAN("connection"))) {
            read_connection(field->value, facts);
        } else if (fg_span_equal(field->name, FG_SPAN("upgrade"))) {
            facts->is_websocket = fg_span_equal_nocase(field->value, FG_SPAN("websocket"));
        }
    }
}

static bool is_named_by_connection(const struct fg_upstream_response *response, struct fg_span name)
{
    for (size_t i = 0; i < response->field_count; i++) {
        struct fg_span list = response->fields[i].value;
        if (!fg_span_equal(response->fields[i].name, FG_SPAN("connection")))
            continue;
        while (list.data != NULL) {
            if (fg_span_equal_nocase(fg_span_trim(fg_span_split(&list, ',')), name))
                return true;
        }
    }
    return false;
}

bool fg_upstream_response_is_dropped(struct fg_span name)
{
    static const struct fg_span names[] = {
        FG_SPAN_LITERAL("connection"),        FG_SPAN_LITERAL("keep-alive"),
        FG_SPAN_LITERAL("proxy-connection"),  FG_SPAN_LITERAL("te"),
        FG_SPAN_LITERAL("trailer"),           FG_SPAN_LITERAL("upgrade"),
        FG_SPAN_LITERAL("transfer-encoding"), FG_SPAN_LITERAL("x-request-id"),
        FG_SPAN_LITERAL("traceparent"),
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (fg_span_equal(name, names[i]))
            return true;
    }
    return false;
}

static void filter_fields(struct fg_upstream_response *response, const struct head_facts *facts)
{
    size_t kept = 0;
    if (facts->names_others) {
        /* Marked first: the lists themselves are among the fields. */
        for (size_t i = 0; i < response->field_count; i++) {
            struct fg_span name = response->fields[i].name;
            if (!fg_upstream_response_is_dropped(name) && is_named_by_connection(response, name))
                response->fields[i].name.len = 0;
        }
    }
    for (size_t i = 0; i < response->field_count; i++) {
        struct fg_span name = response->fields[i].name;
        if (name.len == 0 || fg_upstream_response_is_dropped(name) ||
            ((response->status == 204 || response->status < 200) &&
             fg_span_equal(name, FG_SPAN("content-length"))))
            continue;
        response->fields[kept++] = response->fields[i];
    }
    response->field_count = kept;
}

static enum fg_upstream_result decide_framing(struct fg_upstream_response *response,
                                              const struct head_facts *facts, bool is_1_1)
{
    if (facts->is_length_bad || facts->length_count > 1)
        return bad(response, "a malformed or repeated content-length");
    if (facts->coding_count > 0 &&
        (facts->coding_count > 1 || !facts->is_chunked || facts->length_count > 0 || !is_1_1))
        return bad(response, "a transfer-encoding other than one plain chunked");
    if (response->status == 101)
        response->framing = FG_UPSTREAM_UNTIL_CLOSE;
    else if (response->is_head_request || response->status == 204 || response->status == 304)
        response->framing = FG_UPSTREAM_NO_BODY;
    else if (facts->coding_count > 0)
        response->framing = FG_UPSTREAM_CHUNKED;
    else if (facts->length_count == 0)
        response->framing = FG_UPSTREAM_UNTIL_CLOSE;
    else
        response->framing = FG_UPSTREAM_LENGTH;
    if (response->framing == FG_UPSTREAM_LENGTH)
        response->body_left = (uint64_t)response->content_length;
    response->may_keep_alive = response->framing != FG_UPSTREAM_UNTIL_CLOSE && !facts->has_close &&
                               (is_1_1 || facts->has_keep_alive);
    return FG_UPSTREAM_HEAD;
}

/* HEAD, INTERIM, or MORE for a 100, which the gateway says by itself. */
static enum fg_upstream_result take_status(struct fg_upstream_response *response,
                                           const struct head_facts *facts, unsigned status)
{
    if (status < 100 || status > 599)
        return bad(response, "a status outside 100 to 599");
    response->status = status;
    if (status == 101 &&
        (!response->is_upgrade_request || !facts->has_upgrade || !facts->is_websocket))
        return bad(response, "the server switched protocols, which nobody asked for");
    if (status >= 200 || status == 101)
        return FG_UPSTREAM_HEAD;
    if (++response->interim_count > INTERIM_MAX)
        return bad(response, "too many interim answers");
    return status == 100 ? FG_UPSTREAM_MORE : FG_UPSTREAM_INTERIM;
}

static enum fg_upstream_result parse_head(struct fg_upstream_response *response)
{
    struct head_parse parse = {.response = response, .fields_max = response->line_count - 1};
    if (parse.fields_max > FIELDS_MAX)
        return bad(response, "too many fields in the head");
    response->fields =
        fg_arena_try_alloc(response->arena, (parse.fields_max + 1) * sizeof(*response->fields));
    if (response->fields == NULL)
        return FG_UPSTREAM_NO_MEMORY;
    response->field_count = 0;
    response->content_length = -1;
    llhttp_t parser;
    llhttp_init(&parser, HTTP_RESPONSE, &settings);
    parser.data = &parse;
    if (llhttp_execute(&parser, response->head, response->head_len) != HPE_PAUSED)
        return bad(response, "a malformed head");
    bool is_1_1 = parser.http_major == 1 && parser.http_minor == 1;
    if (parser.http_major != 1 || parser.http_minor > 1)
        return bad(response, "an HTTP version other than 1.0 and 1.1");
    struct head_facts facts = {0};
    read_fields(response, &facts);
    enum fg_upstream_result result = take_status(response, &facts, parser.status_code);
    if (result == FG_UPSTREAM_HEAD)
        result = decide_framing(response, &facts, is_1_1);
    if (result == FG_UPSTREAM_HEAD || result == FG_UPSTREAM_INTERIM)
        filter_fields(response, &facts);
    return result;
}

static enum fg_upstream_result next_of_head(struct fg_upstream_response *response,
                                            struct fg_span *input)
{
    while (input->len > 0) {
        size_t used = 0;
        enum scan scan = scan_head(response, *input, &used);
        if (scan == SCAN_BAD)
            return bad(response, response->error);
        if (used > response->head_bytes_max - response->head_bytes)
            return bad(response, "the head is larger than the limit");
        response->head_bytes += used;
        if (!append_head(response, fg_span_make(input->data, used), scan == SCAN_END))
            return FG_UPSTREAM_NO_MEMORY;
        *input = fg_span_make(input->data + used, input->len - used);
        if (scan == SCAN_MORE)
            return FG_UPSTREAM_MORE;
        enum fg_upstream_result result = parse_head(response);
        if (result == FG_UPSTREAM_HEAD)
            response->state = BODY;
        if (result != FG_UPSTREAM_MORE && result != FG_UPSTREAM_INTERIM)
            return result;
        /* An interim answer: the next head is written over it. */
        response->head_len = 0;
        response->line_count = 0;
        response->line_len = 0;
        if (result == FG_UPSTREAM_INTERIM)
            return result;
    }
    return FG_UPSTREAM_MORE;
}

/* ---- the body ---- */

static enum fg_upstream_result done(struct fg_upstream_response *response)
{
    response->state = DONE;
    return FG_UPSTREAM_DONE;
}

static enum fg_upstream_result trailer_result(struct fg_upstream_response *response,
                                              enum fg_status status)
{
    if (status == FG_OK)
        return FG_UPSTREAM_MORE;
    return status == FG_ERR_NO_MEMORY ? FG_UPSTREAM_NO_MEMORY
                                      : bad(response, "a malformed or too large trailer section");
}

static enum fg_upstream_result next_of_chunked(struct fg_upstream_response *response,
                                               struct fg_span *input, struct fg_span *data)
{
    struct fg_trailers *trailers = &response->trailers;
    enum fg_upstream_result result = FG_UPSTREAM_MORE;
    while (result == FG_UPSTREAM_MORE && input->len > 0) {
        switch (fg_chunked_next(&response->chunked, input, SIZE_MAX, data)) {
        case FG_CHUNKED_MORE:
            break;
        case FG_CHUNKED_DATA:
            return FG_UPSTREAM_DATA;
        case FG_CHUNKED_TRAILER:
            result =
                trailer_result(response, fg_trailers_add_text(trailers, response->arena, *data));
            break;
        case FG_CHUNKED_DONE:
            result = trailer_result(response, fg_trailers_finish_text(trailers, response->arena));
            return result == FG_UPSTREAM_MORE ? done(response) : result;
        case FG_CHUNKED_BAD:
            return bad(response, "malformed chunks");
        }
    }
    return result;
}

static enum fg_upstream_result next_of_body(struct fg_upstream_response *response,
                                            struct fg_span *input, struct fg_span *data)
{
    if (response->framing == FG_UPSTREAM_NO_BODY ||
        (response->framing == FG_UPSTREAM_LENGTH && response->body_left == 0))
        return done(response);
    if (input->len == 0)
        return FG_UPSTREAM_MORE;
    if (response->framing == FG_UPSTREAM_CHUNKED)
        return next_of_chunked(response, input, data);
    size_t run = input->len;
    if (response->framing == FG_UPSTREAM_LENGTH) {
        if (response->body_left < run)
            run = (size_t)response->body_left;
        response->body_left -= run;
    }
    *data = fg_span_make(input->data, run);
    *input = fg_span_make(input->data + run, input->len - run);
    return FG_UPSTREAM_DATA;
}

void fg_upstream_response_init(struct fg_upstream_response *response, struct fg_arena *arena,
                               size_t head_bytes_max, bool is_head_request)
{
    *response = (struct fg_upstream_response){
        .arena = arena,
        .head_bytes_max = head_bytes_max,
        .is_head_request = is_head_request,
        .content_length = -1,
    };
}

enum fg_upstream_result fg_upstream_response_next(struct fg_upstream_response *response,
                                                  struct fg_span *input, struct fg_span *data)
{
    switch (response->state) {
    case HEAD:
        return next_of_head(response, input);
    case BODY:
        return next_of_body(response, input, data);
    case DONE:
        return FG_UPSTREAM_DONE;
    default:
        return FG_UPSTREAM_BAD;
    }
}

bool fg_upstream_response_ends_at_eof(const struct fg_upstream_response *response)
{
    return response->state == BODY && response->framing == FG_UPSTREAM_UNTIL_CLOSE;
}
