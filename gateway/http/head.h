/*
 * head.h: builds the head of a request field by field, the same way for both protocol versions.
 * Job      copy, check and limit fields; take out those about one hop or about framing; at the end
 *          fill in a struct fg_exchange.
 * Thread   the loop's.
 * Memory   all in the request's arena: one block of text for most heads.
 */
#ifndef FG_HTTP_HEAD_H
#define FG_HTTP_HEAD_H

#include "base/field_id.h"
#include "http/http_error.h"
#include "http/request.h"

struct fg_limits_conf;

#define FG_KNOWN_AUTHORITY_BYTES ((size_t)64)

/* The authority that was asked for last on a loop, as it came and as it is kept: most requests name
 * the same one, which then is not checked again. */
struct fg_known_authority {
    size_t raw_len; /* 0: none yet */
    size_t len;
    char raw[FG_KNOWN_AUTHORITY_BYTES];
    char text[FG_KNOWN_AUTHORITY_BYTES];
};

/* One of any number, which together are one list (RFC 9110 section 5.3); in the arena. */
struct fg_connection_field {
    struct fg_connection_field *next;
    struct fg_span value;
};

struct fg_head {
    struct fg_arena *arena;
    const struct fg_limits_conf *limits;
    struct fg_known_authority *known; /* the loop's */

    /* text of names and values, packed */
    char *text_at;
    char *text_end;

    struct fg_field *fields; /* what ex.fields will be */
    size_t field_count;
    size_t field_room;
    size_t count_seen; /* against limits.header_count_max */
    size_t bytes_seen; /* names and values, against limits.header_bytes_max */

    /* the one cookie field, once it was put together */
    size_t cookie_index; /* valid with has_cookie */
    char *cookie_text;   /* its value; NULL: as the first piece had it */
    size_t cookie_room;

    /* what the request says of itself; data NULL: nothing */
    struct fg_span method;
    struct fg_span target;
    struct fg_span host;
    struct fg_span authority;     /* :authority */
    struct fg_span target_scheme; /* of an absolute target, once finished */
    struct fg_span request_id;
    struct fg_span protocol; /* :protocol (RFC 8441) */
    struct fg_span upgrade;  /* Upgrade; the second field of that name spoils it */
    struct fg_connection_field *connection;
    size_t named_count;     /* that they name, against limits.header_count_max */
    int64_t content_length; /* -1: none */
    bool has_transfer_encoding;
    bool has_unknown_coding; /* besides chunked, which is the last */
    bool has_expect;
    bool has_bad_expectation;
    bool accepts_trailers; /* TE: trailers */
    bool has_upgrades;     /* more than one Upgrade field */
    bool has_cookie;
};

void fg_head_init(struct fg_head *head, struct fg_arena *arena, const struct fg_limits_conf *limits,
                  struct fg_known_authority *known);

/* Each copies what it is given. */
enum fg_http_error fg_head_set_method(struct fg_head *head, struct fg_span method);
enum fg_http_error fg_head_set_target(struct fg_head *head, struct fg_span target);
enum fg_http_error fg_head_set_authority(struct fg_head *head, struct fg_span authority);
enum fg_http_error fg_head_set_protocol(struct fg_head *head, struct fg_span protocol);
enum fg_http_error fg_head_add(struct fg_head *head, struct fg_span name, struct fg_span value);
/* The same of a field whose name is in lower case and is `id`, and whose value holds nothing that
 * it may not, with no blanks around it. A name that lasts is not copied. */
enum fg_http_error fg_head_add_checked(struct fg_head *head, enum fg_field_id id,
                                       struct fg_span name, struct fg_span value,
                                       bool is_name_lasting);

/* Does a Connection field hold `token`? */
bool fg_head_connection_has(const struct fg_head *head, struct fg_span token);

/*
 * The head is complete: method, target, authority, fields and content_length of `ex` are set;
 * has_body is set from the framing fields alone. The request id is left to the caller. With
 * BAD_METHOD, BAD_EXPECTATION or BAD_TARGET the framing is that of a valid message all the same.
 */
enum fg_http_error fg_head_finish(struct fg_head *head, struct fg_exchange *ex,
                                  enum fg_http_version version);

#endif
