/*
 * upstream_response.h: what a server sends back, from bytes to status, fields and body.
 * Job      gather the head, check it byte by byte, take it apart, decide by itself where
 *          the body ends, and take the body's framing off; fields behind the body are kept.
 * Thread   the exchange's loop; no I/O.
 * Never    guesses: two lengths, an unknown coding, a bare CR or LF, a folded line and everything
 *          else that a client could read differently is an error.
 * Memory   the exchange's arena, for the head only, bounded by head_bytes_max.
 * Source   RFC 9112 sections 2.2, 4, 5, 6 and 7; RFC 9110 sections 7.6.1 and 15.2.
 *
 *    HEAD --1xx--> HEAD --101--> UNTIL_CLOSE
 *    HEAD --> LENGTH | CHUNKED | UNTIL_CLOSE | (no body) --> DONE
 *      `--> BAD <-------------'
 */
#ifndef FG_PROXY_UPSTREAM_RESPONSE_H
#define FG_PROXY_UPSTREAM_RESPONSE_H

#include "backends/backend.h"
#include "backends/trailers.h"
#include "base/chunked.h"
#include "base/field_id.h"
#include "proxy/known_lines.h"

enum fg_upstream_framing {
    FG_UPSTREAM_NO_BODY,
    FG_UPSTREAM_LENGTH,
    FG_UPSTREAM_CHUNKED,
    FG_UPSTREAM_UNTIL_CLOSE,
};

struct fg_upstream_response {
    /* configuration */
    struct fg_arena *arena;
    size_t head_bytes_max; /* all heads of one answer together, interim ones too */
    bool is_head_request;
    bool is_upgrade_request; /* 101 may come, for "websocket" */
    struct fg_known_lines
        *known; /* of earlier answers; NULL: none. It makes no difference but time */

    /* reading */
    unsigned state;
    const char *error; /* a constant; valid after BAD */

    /* the head so far */
    char *head;
    size_t head_len;
    size_t head_capacity;
    size_t head_bytes; /* of all heads */
    size_t line_len;
    size_t line_count;
    size_t interim_count;
    bool is_after_cr;

    /* valid from HEAD on; names in lower case, no hop-by-hop fields */
    unsigned status;
    struct fg_field *fields;
    size_t field_count;
    struct fg_never_indexed *never_indexed; /* HTTP/2; NULL: none */
    int64_t content_length;                 /* -1: not stated */
    bool may_keep_alive;
    enum fg_upstream_framing framing;

    /* the body */
    uint64_t body_left;
    struct fg_chunked chunked;
    struct fg_trailers trailers; /* valid from DONE on */
};

enum fg_upstream_result {
    FG_UPSTREAM_MORE,    /* all input is used */
    FG_UPSTREAM_INTERIM, /* status and fields of a 1xx, valid until the next call */
    FG_UPSTREAM_HEAD,    /* the final head is there */
    FG_UPSTREAM_DATA,    /* *data is a run of body bytes, not empty */
    FG_UPSTREAM_DONE,    /* the answer is complete; *input is what follows it */
    FG_UPSTREAM_BAD,     /* see error */
    FG_UPSTREAM_NO_MEMORY,
};

void fg_upstream_response_init(struct fg_upstream_response *response, struct fg_arena *arena,
                               size_t head_bytes_max, bool is_head_request);

/* Takes from the front of *input until there is something to tell. */
enum fg_upstream_result fg_upstream_response_next(struct fg_upstream_response *response,
                                                  struct fg_span *input, struct fg_span *data);

/* The server closed the connection: is the answer complete by that? */
bool fg_upstream_response_ends_at_eof(const struct fg_upstream_response *response);

/* Is the field about this hop, or one that the gateway sets itself on every answer? */
bool fg_upstream_response_is_dropped(enum fg_field_id id);

#endif
