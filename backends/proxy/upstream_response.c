/*
 * upstream_response.c: a byte scanner finds the end of the head and refuses every byte that may not
 * stand in one; the head is then one piece in the arena, taken apart line by line, names
 * lower-cased in place, and all fields point into it. No general parser: behind the scanner all
 * that is left of the grammar is "token, colon, anything", and a parser's second look at each byte
 * cost a tenth of a proxied request.
 */
#include "upstream_response.h"

#include "base/field_id.h"
#include "base/field_text.h"

#include <assert.h>

#define FIELDS_MAX ((size_t)256)
#define NAMED_MAX ((size_t)100) /* by Connection; each is looked for among all fields */
#define INTERIM_MAX ((size_t)16)
#define HEAD_BYTES_FIRST ((size_t)1024)
#define VERSION_BYTES ((size_t)7) /* of "HTTP/1.", which every answer begins with */

enum { HEAD, BODY, DONE, BAD };

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

/* Lines of fields that are here whole, as nearly all are: counted, and their bytes, CRLF included.
 */
static size_t whole_lines(struct fg_upstream_response *response, struct fg_span input)
{
    size_t at = 0;
    if (response->line_count == 0 || response->line_len > 0 || response->is_after_cr)
        return 0;
    for (size_t count = response->line_count;; response->line_count = ++count) {
        struct fg_span rest = {input.data + at, input.len - at};
        size_t plain = rest.len == 0 || rest.data[0] == ' ' ? 0 : fg_span_find_control(rest);
        if (plain == 0 || rest.len - plain < 2 || rest.data[plain] != '\r' ||
            rest.data[plain + 1] != '\n')
            return at;
        at += plain + 2;
    }
}

/* *used is how much of the input belongs to this head. */
static enum scan scan_head(struct fg_upstream_response *response, struct fg_span input,
                           size_t *used)
{
    for (size_t i = 0; i < input.len; i++) {
        i += whole_lines(response, fg_span_make(input.data + i, input.len - i));
        if (i == input.len)
            break;
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

/* "HTTP/1.1 200", and a reason that nobody reads. The scanner has seen the first seven bytes. */
static bool parse_status_line(struct fg_span line, unsigned *minor, unsigned *status)
{
    if (line.len < VERSION_BYTES + 5)
        return false;
    const char *text = line.data + VERSION_BYTES;
    uint64_t number;
    if (text[0] < '0' || text[0] > '9' || text[1] != ' ' ||
        !fg_span_parse_u64(fg_span_make(text + 2, 3), &number) ||
        (line.len > VERSION_BYTES + 5 && text[5] != ' '))
        return false;
    *minor = text[0] == '0' ? 0 : 1; /* above ours: as our highest (RFC 9110 section 2.5) */
    *status = (unsigned)number;
    return true;
}

/* Without the blanks around it: most have one in front and none behind. */
static struct fg_span trim_value(const char *text, size_t len)
{
    if (len > 1 && text[0] == ' ' && text[1] > ' ' && text[len - 1] > ' ')
        return fg_span_make(text + 1, len - 1);
    return fg_span_trim(fg_span_make(text, len));
}

/*
 * A token in lower case from now on, a colon, and whatever the scanner let in. Blanks before the
 * colon are taken off, as a proxy has to do in an answer (RFC 9112 section 5.1).
 */
static bool parse_field(char *line, size_t len, struct fg_field *field)
{
    size_t name_len = fg_field_name_take(line, len);
    size_t colon = name_len;
    while (colon < len && (line[colon] == ' ' || line[colon] == '\t'))
        colon++;
    if (name_len == 0 || colon == len || line[colon] != ':')
        return false;
    field->name = fg_span_make(line, name_len);
    field->value = trim_value(line + colon + 1, len - colon - 1);
    return true;
}

/* The scanner has seen to it that each line ends in CRLF, has no other CR or LF, and that the last
 * one is empty. */
static bool parse_lines(struct fg_upstream_response *response, unsigned *minor, unsigned *status)
{
    char *at = response->head;
    const char *end = response->head + response->head_len - 2;
    for (size_t i = 0; at < end; i++) {
        char *line_end = memchr(at, '\r', (size_t)(end - at));
        assert(line_end != NULL);
        size_t len = (size_t)(line_end - at);
        bool is_fine = i == 0 ? parse_status_line(fg_span_make(at, len), minor, status)
                              : parse_field(at, len, &response->fields[response->field_count++]);
        if (!is_fine)
            return false;
        at = line_end + 2;
    }
    return true;
}

/* About this hop alone, or said by the gateway itself. */
static bool is_dropped(enum fg_field_id id, unsigned status)
{
    switch (id) {
    case FG_FIELD_UPGRADE:
        return status != 426; /* what to switch to: the answer's point (RFC 9110 section 15.5.22) */
    case FG_FIELD_CONNECTION:
    case FG_FIELD_KEEP_ALIVE:
    case FG_FIELD_PROXY_CONNECTION:
    case FG_FIELD_TE:
    case FG_FIELD_TRANSFER_ENCODING:
    case FG_FIELD_REQUEST_ID:
    case FG_FIELD_TRACEPARENT:
        return true;
    default:
        return false;
    }
}

bool fg_upstream_response_is_dropped(enum fg_field_id id)
{
    return is_dropped(id, 0);
}

/* ---- a head that is here whole ---- */

/* Taken apart, but nothing of it in the arena yet. */
struct draft {
    unsigned minor;
    unsigned status;
    size_t len;
    size_t count;
    uint16_t starts[FG_KNOWN_LINES];
    struct fg_line_parts parts[FG_KNOWN_LINES];
    char text[HEAD_BYTES_FIRST];
};

/* A line that ends in CRLF and has no other control byte; its length with that, or 0. */
static size_t whole_line(struct fg_span input)
{
    size_t plain = fg_span_find_control(input);
    return plain > 0 && input.len - plain >= 2 && input.data[plain] == '\r' &&
                   input.data[plain + 1] == '\n'
               ? plain + 2
               : 0;
}

static size_t take_new_line(struct fg_known_lines *known, size_t index, struct fg_span input,
                            char *to, struct fg_line_parts *parts)
{
    size_t len = input.data[0] == ' ' ? 0 : whole_line(input);
    struct fg_field field;
    if (len == 0)
        return 0;
    memcpy(to, input.data, len);
    if (!parse_field(to, len - 2, &field))
        return 0;
    *parts = (struct fg_line_parts){.name_len = (uint16_t)field.name.len,
                                    .value_at = (uint16_t)(field.value.data - to),
                                    .value_len = (uint16_t)field.value.len,
                                    .id = (uint16_t)fg_field_identify(field.name)};
    fg_known_lines_put(known, index, fg_span_make(input.data, len), to, parts);
    return len;
}

/*
 * False: it is not whole, larger than most, interim, or not plainly right; then all of it is looked
 * at again, and that says what is wrong with it.
 */
static bool draft_head(struct fg_known_lines *known, struct fg_span input, struct draft *draft)
{
    if (input.len > sizeof(draft->text))
        input.len = sizeof(draft->text);
    size_t at = whole_line(input);
    if (at < VERSION_BYTES + 2 || memcmp(input.data, "HTTP/1.", VERSION_BYTES) != 0 ||
        !parse_status_line(fg_span_make(input.data, at - 2), &draft->minor, &draft->status) ||
        draft->status < 200)
        return false;
    memcpy(draft->text, input.data, at);
    for (draft->count = 0; draft->count < FG_KNOWN_LINES && at < input.len; draft->count++) {
        struct fg_span rest = {input.data + at, input.len - at};
        size_t i = draft->count;
        if (rest.data[0] == '\r') {
            draft->len = at + 2;
            return rest.len >= 2 && rest.data[1] == '\n';
        }
        size_t len = fg_known_lines_take(known, i, rest, draft->text + at, &draft->parts[i]);
        if (len == 0)
            len = take_new_line(known, i, rest, draft->text + at, &draft->parts[i]);
        if (len == 0)
            return false;
        draft->starts[i] = (uint16_t)at;
        at += len;
    }
    return false;
}

/* Its text, and its fields in it, into the arena. */
static bool keep_draft(struct fg_upstream_response *response, const struct draft *draft,
                       enum fg_field_id *ids)
{
    response->head = fg_arena_try_alloc(response->arena, draft->len);
    response->fields =
        fg_arena_try_alloc(response->arena, (draft->count + 1) * sizeof(*response->fields));
    if (response->head == NULL || response->fields == NULL)
        return false;
    memcpy(response->head, draft->text, draft->len - 2);
    for (size_t i = 0; i < draft->count; i++) {
        const struct fg_line_parts *parts = &draft->parts[i];
        const char *line = response->head + draft->starts[i];
        ids[i] = (enum fg_field_id)parts->id;
        response->fields[i] =
            (struct fg_field){fg_span_make(line, parts->name_len),
                              fg_span_make(line + parts->value_at, parts->value_len)};
    }
    response->field_count = draft->count;
    response->head_bytes += draft->len;
    response->head_len = response->head_capacity = draft->len;
    return true;
}

/* ---- what it says ---- */

/* What the fields say about the body and the connection. */
struct head_facts {
    size_t length_count;
    size_t coding_count;
    size_t named_count; /* by Connection */
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

/* `ids` are those of the fields. */
static void read_fields(struct fg_upstream_response *response, struct head_facts *facts,
                        const enum fg_field_id *ids)
{
    for (size_t i = 0; i < response->field_count; i++) {
        struct fg_field *field = &response->fields[i];
        switch (ids[i]) {
        case FG_FIELD_CONTENT_LENGTH:
            facts->length_count++;
            if (!fg_field_parse_length(field->value, &response->content_length))
                facts->is_length_bad = true;
            field->value = fg_field_plain_length(field->value);
            break;
        case FG_FIELD_TRANSFER_ENCODING:
            facts->coding_count++;
            facts->is_chunked = fg_span_equal_nocase(field->value, FG_SPAN("chunked"));
            break;
        case FG_FIELD_CONNECTION:
            facts->named_count += fg_field_list_count(field->value);
            read_connection(field->value, facts);
            break;
        case FG_FIELD_UPGRADE:
            facts->is_websocket = fg_span_equal_nocase(field->value, FG_SPAN("websocket"));
            break;
        default:
            break;
        }
    }
}

static bool is_named_by_connection(const struct fg_upstream_response *response, struct fg_span name)
{
    for (size_t i = 0; i < response->field_count; i++) {
        const struct fg_field *field = &response->fields[i];
        if (fg_span_equal(field->name, FG_SPAN("connection")) &&
            fg_field_list_has(field->value, name))
            return true;
    }
    return false;
}

static void filter_fields(struct fg_upstream_response *response, const struct head_facts *facts,
                          const enum fg_field_id *ids)
{
    size_t kept = 0;
    if (facts->names_others) {
        /* Marked first: the lists themselves are among the fields. */
        for (size_t i = 0; i < response->field_count; i++) {
            if (!is_dropped(ids[i], 0) &&
                is_named_by_connection(response, response->fields[i].name))
                response->fields[i].name.len = 0;
        }
    }
    bool has_no_length = response->status == 204 || response->status < 200;
    for (size_t i = 0; i < response->field_count; i++) {
        if (response->fields[i].name.len == 0 || is_dropped(ids[i], response->status) ||
            (ids[i] == FG_FIELD_CONTENT_LENGTH && has_no_length))
            continue;
        response->fields[kept++] = response->fields[i];
    }
    response->field_count = kept;
}

/* NULL, or what is wrong with the fields that frame a body; in an interim answer's head, too. */
static const char *check_framing(const struct head_facts *facts, bool is_1_1)
{
    if (facts->is_length_bad || facts->length_count > 1)
        return "a malformed or repeated content-length";
    if (facts->coding_count > 0 &&
        (facts->coding_count > 1 || !facts->is_chunked || facts->length_count > 0 || !is_1_1))
        return "a transfer-encoding other than one plain chunked";
    if (facts->named_count > NAMED_MAX)
        return "a connection field that names too many others";
    return NULL;
}

static void decide_framing(struct fg_upstream_response *response, const struct head_facts *facts,
                           bool is_1_1)
{
    if (response->status == 101)
        response->framing = FG_UPSTREAM_UNTIL_CLOSE;
    else if (response->is_head_request || response->status == 204 || response->status == 205 ||
             response->status == 304)
        response->framing = FG_UPSTREAM_NO_BODY;
    else if (facts->coding_count > 0)
        response->framing = FG_UPSTREAM_CHUNKED;
    else if (facts->length_count == 0)
        response->framing = FG_UPSTREAM_UNTIL_CLOSE;
    else
        response->framing = FG_UPSTREAM_LENGTH;
    if (response->framing == FG_UPSTREAM_LENGTH)
        response->body_left = (uint64_t)response->content_length;
    /* A 205 has a body that no client is given (RFC 9110 section 15.3.6): nobody waits for it. */
    bool is_followed =
        response->framing == FG_UPSTREAM_UNTIL_CLOSE ||
        (response->status == 205 && !response->is_head_request && response->content_length != 0);
    response->may_keep_alive =
        !is_followed && !facts->has_close && (is_1_1 || facts->has_keep_alive);
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

static enum fg_upstream_result settle_head(struct fg_upstream_response *response, unsigned minor,
                                           unsigned status, const enum fg_field_id *ids)
{
    struct head_facts facts = {0};
    response->content_length = -1;
    read_fields(response, &facts, ids);
    const char *error = check_framing(&facts, minor == 1);
    if (error != NULL)
        return bad(response, error);
    enum fg_upstream_result result = take_status(response, &facts, status);
    if (result == FG_UPSTREAM_HEAD)
        decide_framing(response, &facts, minor == 1);
    if (result == FG_UPSTREAM_HEAD || result == FG_UPSTREAM_INTERIM)
        filter_fields(response, &facts, ids);
    return result;
}

static enum fg_upstream_result parse_head(struct fg_upstream_response *response)
{
    size_t fields_max = response->line_count - 1;
    if (fields_max > FIELDS_MAX)
        return bad(response, "too many fields in the head");
    response->fields =
        fg_arena_try_alloc(response->arena, (fields_max + 1) * sizeof(*response->fields));
    if (response->fields == NULL)
        return FG_UPSTREAM_NO_MEMORY;
    response->field_count = 0;
    unsigned minor = 0, status = 0;
    if (!parse_lines(response, &minor, &status))
        return bad(response, "a malformed head");
    enum fg_field_id ids[FIELDS_MAX];
    for (size_t i = 0; i < response->field_count; i++)
        ids[i] = fg_field_identify(response->fields[i].name);
    return settle_head(response, minor, status, ids);
}

/* FG_UPSTREAM_MORE: it has to be looked at as any other. */
static enum fg_upstream_result take_known_head(struct fg_upstream_response *response,
                                               struct fg_span *input)
{
    struct draft draft; /* not zeroed: most of it is never touched */
    enum fg_field_id ids[FG_KNOWN_LINES];
    bool is_begin = response->head_len == 0 && response->line_count == 0 &&
                    response->line_len == 0 && !response->is_after_cr;
    if (response->known == NULL || !is_begin || !draft_head(response->known, *input, &draft) ||
        draft.len > response->head_bytes_max - response->head_bytes)
        return FG_UPSTREAM_MORE;
    if (!keep_draft(response, &draft, ids))
        return FG_UPSTREAM_NO_MEMORY;
    *input = fg_span_make(input->data + draft.len, input->len - draft.len);
    return settle_head(response, draft.minor, draft.status, ids);
}

static enum fg_upstream_result next_of_head(struct fg_upstream_response *response,
                                            struct fg_span *input)
{
    enum fg_upstream_result known = take_known_head(response, input);
    if (known != FG_UPSTREAM_MORE) {
        if (known == FG_UPSTREAM_HEAD)
            response->state = BODY;
        return known;
    }
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
