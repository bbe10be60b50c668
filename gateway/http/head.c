/*
 * head.c: see head.h. Fields that frame the message or concern one hop are understood here and kept
 * out of ex.fields, as are Host (ex.authority), Expect and X-Request-Id (ex.request_id).
 * Source   RFC 9110 section 17.10 for names that only look different.
 */
#include "http/head.h"

#include "config/config.h"
#include "http/fields.h"
#include "http/forwarded.h"
#include "http/target.h"

#define TEXT_BLOCK_BYTES ((size_t)1536)
#define FIELDS_AT_FIRST ((size_t)24)
#define REQUEST_ID_MAX ((size_t)64)
#define OWN_NAME_MAX ((size_t)32) /* of the names that we say or understand ourselves */

void fg_head_init(struct fg_head *head, struct fg_arena *arena, const struct fg_limits_conf *limits,
                  struct fg_known_authority *known)
{
    *head =
        (struct fg_head){.arena = arena, .limits = limits, .known = known, .content_length = -1};
}

static char *take_text(struct fg_head *head, size_t len)
{
    if ((size_t)(head->text_end - head->text_at) < len) {
        size_t block = len > TEXT_BLOCK_BYTES / 2 ? len + TEXT_BLOCK_BYTES : TEXT_BLOCK_BYTES;
        head->text_at = fg_arena_try_alloc(head->arena, block);
        if (head->text_at == NULL) {
            head->text_end = NULL;
            return NULL;
        }
        head->text_end = head->text_at + block;
    }
    char *text = head->text_at;
    head->text_at += len;
    return text;
}

static enum fg_http_error copy_text(struct fg_head *head, struct fg_span from, struct fg_span *to)
{
    *to = FG_SPAN("");
    if (from.len == 0)
        return FG_HTTP_OK;
    char *text = take_text(head, from.len);
    if (text == NULL)
        return FG_HTTP_NO_MEMORY;
    memcpy(text, from.data, from.len);
    *to = fg_span_make(text, from.len);
    return FG_HTTP_OK;
}

enum fg_http_error fg_head_set_method(struct fg_head *head, struct fg_span method)
{
    if (head->method.data != NULL || !fg_is_token(method))
        return FG_HTTP_MALFORMED;
    if (method.len > FG_METHOD_BYTES_MAX)
        return FG_HTTP_BAD_METHOD;
    return copy_text(head, method, &head->method);
}

enum fg_http_error fg_head_set_target(struct fg_head *head, struct fg_span target)
{
    if (head->target.data != NULL)
        return FG_HTTP_MALFORMED;
    if (target.len > head->limits->uri_bytes_max)
        return FG_HTTP_URI_TOO_LONG;
    return copy_text(head, target, &head->target);
}

static void remember_authority(struct fg_known_authority *known, struct fg_span raw,
                               struct fg_span text)
{
    if (raw.len > sizeof(known->raw))
        return;
    memcpy(known->raw, raw.data, raw.len);
    memcpy(known->text, text.data, text.len);
    known->raw_len = raw.len;
    known->len = text.len;
}

/* Host names compare without case, so they are kept in lower case; a colon without a port says
 * nothing (RFC 3986 section 6.2.3). */
static enum fg_http_error copy_authority(struct fg_head *head, struct fg_span from,
                                         struct fg_span *to)
{
    const struct fg_known_authority *known = head->known;
    const struct fg_span raw = from;
    if (to->data != NULL)
        return FG_HTTP_BAD_HOST;
    if (from.len > 0 && fg_span_equal(from, fg_span_make(known->raw, known->raw_len)))
        return copy_text(head, fg_span_make(known->text, known->len), to);
    if (!fg_authority_is_valid(from))
        return FG_HTTP_BAD_HOST;
    if (from.data[from.len - 1] == ':')
        from.len--;
    char *text = take_text(head, from.len);
    if (text == NULL)
        return FG_HTTP_NO_MEMORY;
    for (size_t i = 0; i < from.len; i++) {
        char c = from.data[i];
        text[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    *to = fg_span_make(text, from.len);
    remember_authority(head->known, raw, *to);
    return FG_HTTP_OK;
}

enum fg_http_error fg_head_set_authority(struct fg_head *head, struct fg_span authority)
{
    return copy_authority(head, authority, &head->authority);
}

enum fg_http_error fg_head_set_protocol(struct fg_head *head, struct fg_span protocol)
{
    if (head->protocol.data != NULL || !fg_is_token(protocol))
        return FG_HTTP_MALFORMED;
    return copy_text(head, protocol, &head->protocol);
}

static enum fg_http_error grow_fields(struct fg_head *head)
{
    size_t room = head->field_room == 0 ? FIELDS_AT_FIRST : head->field_room * 2;
    struct fg_field *fields = fg_arena_try_alloc(head->arena, room * sizeof(*fields));
    if (fields == NULL)
        return FG_HTTP_NO_MEMORY;
    if (head->field_count > 0)
        memcpy(fields, head->fields, head->field_count * sizeof(*fields));
    head->fields = fields;
    head->field_room = room;
    return FG_HTTP_OK;
}

static enum fg_http_error keep_field(struct fg_head *head, struct fg_span name,
                                     struct fg_span value)
{
    if (head->field_count == head->field_room) {
        enum fg_http_error error = grow_fields(head);
        if (error != FG_HTTP_OK)
            return error;
    }
    struct fg_field *field = &head->fields[head->field_count];
    field->name = name; /* copied by the caller */
    enum fg_http_error error = copy_text(head, value, &field->value);
    if (error == FG_HTTP_OK)
        head->field_count++;
    return error;
}

static bool is_request_id(struct fg_span id)
{
    if (id.len == 0 || id.len > REQUEST_ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        char c = id.data[i];
        bool is_fine = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '.' || c == '_' || c == '-';
        if (!is_fine)
            return false;
    }
    return true;
}

static enum fg_http_error add_length(struct fg_head *head, struct fg_span name,
                                     struct fg_span value)
{
    if (head->content_length != -1 || !fg_field_parse_length(value, &head->content_length))
        return FG_HTTP_BAD_LENGTH;
    return keep_field(head, name, value);
}

/*
 * Exactly "chunked". Where that is the last of several codings the body has an end, in a coding
 * that we do not know; anything else has none that could be trusted (RFC 9112 sections 6.1
 * and 6.3). An empty element is none that a sender makes, and there are servers that read less
 * behind it.
 */
static enum fg_http_error add_coding(struct fg_head *head, struct fg_span value)
{
    static const struct fg_span chunked = FG_SPAN_LITERAL("chunked");
    if (head->has_transfer_encoding)
        return FG_HTTP_BAD_CODING;
    head->has_transfer_encoding = true;
    if (fg_span_equal_nocase(value, chunked))
        return FG_HTTP_OK;
    struct fg_span rest = value;
    struct fg_span last = {NULL, 0};
    size_t chunked_count = 0;
    while (rest.data != NULL) {
        last = fg_span_trim(fg_span_split(&rest, ','));
        if (!fg_is_token(last))
            return FG_HTTP_BAD_CODING;
        chunked_count += fg_span_equal_nocase(last, chunked);
    }
    head->has_unknown_coding = true;
    return chunked_count == 1 && fg_span_equal_nocase(last, chunked) ? FG_HTTP_OK
                                                                     : FG_HTTP_BAD_CODING;
}

/* Each name is looked for among all fields: thousands of both would be milliseconds. */
static enum fg_http_error add_connection(struct fg_head *head, struct fg_span value)
{
    head->named_count += fg_field_list_count(value);
    if (head->named_count > head->limits->header_count_max)
        return FG_HTTP_HEADER_TOO_LARGE;
    struct fg_connection_field *field = fg_arena_try_alloc(head->arena, sizeof(*field));
    if (field == NULL)
        return FG_HTTP_NO_MEMORY;
    field->next = head->connection;
    head->connection = field;
    return copy_text(head, value, &field->value);
}

static enum fg_http_error add_upgrade(struct fg_head *head, struct fg_span value)
{
    if (head->upgrade.data != NULL) {
        head->has_upgrades = true;
        return FG_HTTP_OK;
    }
    return copy_text(head, value, &head->upgrade);
}

static bool grow_cookie(struct fg_head *head, struct fg_span *cookie, size_t len)
{
    bool is_first = head->cookie_text == NULL;
    char *text =
        is_first ? fg_arena_try_alloc(head->arena, 2 * len)
                 : fg_arena_try_grow(head->arena, head->cookie_text, head->cookie_room, 2 * len);
    if (text == NULL)
        return false;
    if (is_first && cookie->len > 0)
        memcpy(text, cookie->data, cookie->len);
    cookie->data = text;
    head->cookie_text = text;
    head->cookie_room = 2 * len;
    return true;
}

/* "a=1" and "b=2" are one field "a=1; b=2" (RFC 9113 section 8.2.3). */
static enum fg_http_error add_cookie(struct fg_head *head, struct fg_span name,
                                     struct fg_span value)
{
    if (!head->has_cookie) {
        head->has_cookie = true;
        head->cookie_index = head->field_count;
        return keep_field(head, name, value);
    }
    struct fg_span *cookie = &head->fields[head->cookie_index].value;
    size_t len = cookie->len + 2 + value.len;
    if (len > head->cookie_room && !grow_cookie(head, cookie, len))
        return FG_HTTP_NO_MEMORY;
    char *at = head->cookie_text + cookie->len;
    memcpy(at, "; ", 2);
    if (value.len > 0)
        memcpy(at + 2, value.data, value.len);
    cookie->len = len;
    return FG_HTTP_OK;
}

/* A list of nothing but 100-continue, which may be empty (RFC 9110 section 10.1.1). */
static void add_expect(struct fg_head *head, struct fg_span value)
{
    while (value.data != NULL) {
        struct fg_span one = fg_span_trim(fg_span_split(&value, ','));
        if (one.len == 0)
            continue;
        bool is_known = fg_span_equal_nocase(one, FG_SPAN("100-continue"));
        head->has_expect |= is_known;
        head->has_bad_expectation |= !is_known;
    }
}

static enum fg_http_error add_known(struct fg_head *head, enum fg_field_id id, struct fg_span name,
                                    struct fg_span value)
{
    switch (id) {
    case FG_FIELD_HOST:
        return copy_authority(head, value, &head->host);
    case FG_FIELD_CONTENT_LENGTH:
        return add_length(head, name, value);
    case FG_FIELD_TRANSFER_ENCODING:
        return add_coding(head, value);
    case FG_FIELD_CONNECTION:
        return add_connection(head, value);
    case FG_FIELD_EXPECT:
        add_expect(head, value);
        return FG_HTTP_OK;
    case FG_FIELD_REQUEST_ID:
        /* One that is not to our taste is replaced, not refused. */
        if (head->request_id.data == NULL && is_request_id(value))
            return copy_text(head, value, &head->request_id);
        return FG_HTTP_OK;
    case FG_FIELD_COOKIE:
        return add_cookie(head, name, value);
    case FG_FIELD_TRACEPARENT:
    case FG_FIELD_SERVER_TIMING:
    case FG_FIELD_TRAILER:
    case FG_FIELD_OTHER:
        return keep_field(head, name, value);
    case FG_FIELD_TE:
        head->accepts_trailers |= fg_field_list_has(value, FG_SPAN("trailers"));
        return FG_HTTP_OK;
    case FG_FIELD_UPGRADE:
        return add_upgrade(head, value);
    case FG_FIELD_KEEP_ALIVE:
    case FG_FIELD_PROXY_CONNECTION:
    case FG_FIELD_HTTP2_SETTINGS:
    case FG_FIELD_PROXY: /* CGI makes HTTP_PROXY of it, which programs obey: CVE-2016-5385 */
        break;
    }
    return FG_HTTP_OK;
}

/*
 * "x_forwarded_for" is to many servers what X-Forwarded-For is, and "content_length" a length: what
 * reads like a field that is ours to say, or that frames, would be said past us.
 */
static bool is_disguised(struct fg_span name)
{
    char text[OWN_NAME_MAX];
    if (memchr(name.data, '_', name.len) == NULL)
        return false;
    size_t len = name.len < sizeof(text) ? name.len : sizeof(text); /* a prefix may be ours too */
    for (size_t i = 0; i < len; i++)
        text[i] = name.data[i] == '_' ? '-' : name.data[i];
    struct fg_span plain = fg_span_make(text, len);
    return fg_forwarded_is_field(plain) ||
           (len == name.len && (fg_field_identify(plain) != FG_FIELD_OTHER ||
                                fg_span_equal(plain, FG_SPAN("x-request-timeout-ms"))));
}

static bool is_too_large(struct fg_head *head, struct fg_span name, struct fg_span value,
                         bool is_piece)
{
    head->bytes_seen += name.len + value.len;
    head->count_seen += !is_piece;
    return head->count_seen > head->limits->header_count_max ||
           head->bytes_seen > head->limits->header_bytes_max;
}

enum fg_http_error fg_head_add(struct fg_head *head, struct fg_span name, struct fg_span value)
{
    if (is_too_large(head, name, value, false))
        return FG_HTTP_HEADER_TOO_LARGE;
    char *lower = take_text(head, name.len);
    if (lower == NULL)
        return FG_HTTP_NO_MEMORY;
    value = fg_span_trim(value);
    if (!fg_field_name_lower(name, lower) || !fg_field_value_is_valid(value))
        return FG_HTTP_BAD_FIELD;
    name = fg_span_make(lower, name.len);
    if (is_disguised(name))
        return FG_HTTP_OK;
    return add_known(head, fg_field_identify(name), name, value);
}

enum fg_http_error fg_head_add_checked(struct fg_head *head, enum fg_field_id id,
                                       struct fg_span name, struct fg_span value,
                                       bool is_name_lasting)
{
    /* Clients cut a cookie field into its pairs, so that some may be in the table: it stays one. */
    bool is_piece = id == FG_FIELD_COOKIE && head->has_cookie;
    if (is_too_large(head, name, value, is_piece))
        return FG_HTTP_HEADER_TOO_LARGE;
    if (!is_name_lasting) {
        if (is_disguised(name))
            return FG_HTTP_OK;
        enum fg_http_error error = copy_text(head, name, &name);
        if (error != FG_HTTP_OK)
            return error;
    }
    return add_known(head, id, name, value);
}

bool fg_head_connection_has(const struct fg_head *head, struct fg_span token)
{
    for (const struct fg_connection_field *field = head->connection; field != NULL;
         field = field->next) {
        if (fg_field_list_has(field->value, token))
            return true;
    }
    return false;
}

/* Fields that the Connection field names are about this hop (RFC 9110 section 7.6.1). */
static void remove_named(struct fg_head *head, struct fg_span name)
{
    static const struct fg_span close = FG_SPAN_LITERAL("close");
    static const struct fg_span keep_alive = FG_SPAN_LITERAL("keep-alive");
    if (fg_span_equal_nocase(name, close) || fg_span_equal_nocase(name, keep_alive))
        return;
    size_t kept = 0;
    for (size_t i = 0; i < head->field_count; i++) {
        /* Naming content-length here would change the framing for those behind us. */
        bool is_framing = fg_field_identify(head->fields[i].name) == FG_FIELD_CONTENT_LENGTH;
        if (is_framing || !fg_span_equal_nocase(head->fields[i].name, name))
            head->fields[kept++] = head->fields[i];
    }
    head->field_count = kept;
}

static void remove_all_named(struct fg_head *head)
{
    for (const struct fg_connection_field *field = head->connection; field != NULL;
         field = field->next) {
        struct fg_span rest = field->value;
        while (rest.data != NULL)
            remove_named(head, fg_span_trim(fg_span_split(&rest, ',')));
    }
}

/*
 * Who is asked for. What the target names, or :authority, wins, and Host is written from it (RFC
 * 9112 section 3.2.2, RFC 9113 section 8.3.1): a Host beside it must be one and well-formed, but
 * has no effect, whatever it says.
 */
static enum fg_http_error choose_authority(struct fg_head *head, struct fg_span of_target,
                                           enum fg_http_version version, struct fg_span *chosen)
{
    if (of_target.data != NULL) {
        if (head->authority.data != NULL)
            return FG_HTTP_BAD_TARGET; /* absolute :path */
        enum fg_http_error error = copy_authority(head, of_target, &head->authority);
        if (error != FG_HTTP_OK)
            return error;
    }
    bool has_host = head->host.data != NULL;
    if (version == FG_HTTP_1_1 && !has_host)
        return FG_HTTP_BAD_HOST;
    if (head->authority.data == NULL) {
        if (!has_host && version != FG_HTTP_1_0)
            return FG_HTTP_BAD_HOST;
        *chosen = has_host ? head->host : FG_SPAN("");
        return FG_HTTP_OK;
    }
    *chosen = head->authority;
    return FG_HTTP_OK;
}

static enum fg_http_error set_framing(const struct fg_head *head, struct fg_exchange *ex,
                                      enum fg_http_version version)
{
    if (head->has_transfer_encoding) {
        if (head->content_length != -1)
            return FG_HTTP_BOTH_LENGTHS;
        if (version != FG_HTTP_1_1)
            return FG_HTTP_BAD_CODING;
        if (head->has_unknown_coding)
            return FG_HTTP_UNKNOWN_CODING;
    }
    ex->content_length = head->content_length;
    ex->has_body = head->has_transfer_encoding || head->content_length > 0;
    if (!ex->has_body && version != FG_HTTP_2)
        ex->content_length = 0;
    return FG_HTTP_OK;
}

/*
 * A wish to switch protocols: of those only "websocket" is known, by a GET without a body (RFC 6455
 * section 4.1) or by extended CONNECT (RFC 8441), which is taken for such a GET. Another wish of
 * HTTP/1.1's is not heard (RFC 9110 section 7.8); HTTP/2 over TLS is never begun this way.
 */
static enum fg_http_error read_upgrade(const struct fg_head *head, struct fg_exchange *ex,
                                       enum fg_http_version version)
{
    static const struct fg_span websocket = FG_SPAN_LITERAL("websocket");
    if (version == FG_HTTP_2) {
        if (head->protocol.data == NULL)
            return ex->method == FG_METHOD_CONNECT ? FG_HTTP_BAD_METHOD : FG_HTTP_OK;
        if (ex->method != FG_METHOD_CONNECT || head->content_length != -1)
            return FG_HTTP_MALFORMED;
        if (!fg_span_equal_nocase(head->protocol, websocket))
            return FG_HTTP_BAD_METHOD;
        ex->method = FG_METHOD_GET;
        ex->method_text = FG_SPAN("GET");
        ex->upgrade = websocket;
        return FG_HTTP_OK;
    }
    if (ex->method == FG_METHOD_CONNECT)
        return FG_HTTP_BAD_METHOD;
    bool is_wished = version == FG_HTTP_1_1 && head->upgrade.data != NULL &&
                     fg_head_connection_has(head, FG_SPAN("upgrade"));
    if (!is_wished)
        return FG_HTTP_OK;
    if (fg_field_list_has(head->upgrade, FG_SPAN("h2c")) &&
        fg_span_equal(ex->scheme, FG_SPAN("https")))
        return FG_HTTP_BAD_UPGRADE;
    if (fg_span_equal_nocase(head->upgrade, websocket) && !head->has_upgrades &&
        ex->method == FG_METHOD_GET && !head->has_transfer_encoding && head->content_length <= 0)
        ex->upgrade = websocket;
    return FG_HTTP_OK;
}

enum fg_http_error fg_head_finish(struct fg_head *head, struct fg_exchange *ex,
                                  enum fg_http_version version)
{
    struct fg_target target;
    ex->method_text = head->method;
    ex->method = fg_method_of(head->method);
    enum fg_http_error error = set_framing(head, ex, version);
    if (error != FG_HTTP_OK)
        return error;
    if (ex->method == FG_METHOD_OTHER && !fg_method_may_pass(head->method))
        return FG_HTTP_BAD_METHOD;
    if (head->has_bad_expectation)
        return FG_HTTP_BAD_EXPECTATION;
    error = read_upgrade(head, ex, version);
    if (error != FG_HTTP_OK)
        return error;
    enum fg_status status = fg_target_parse(head->target, ex->method,
                                            head->limits->path_escapes_kept, head->arena, &target);
    if (status != FG_OK)
        return status == FG_ERR_NO_MEMORY ? FG_HTTP_NO_MEMORY : FG_HTTP_BAD_TARGET;
    head->target_scheme = target.scheme;
    error = choose_authority(head, target.authority, version, &ex->authority);
    if (error != FG_HTTP_OK)
        return error;
    remove_all_named(head);
    ex->accepts_trailers = head->accepts_trailers && version != FG_HTTP_1_0; /* no chunks there */
    ex->path = target.path;
    ex->query = target.query;
    ex->fields = head->fields;
    ex->field_count = head->field_count;
    return FG_HTTP_OK;
}
