/*
 * h1_internal.h: the HTTP/1 codec's state, shared by its three files.
 *    h1.c           the codec: which bytes go where, time-outs, the end of things
 *    h1_head.c      from bytes to a request head
 *    h1_response.c  from the handler's calls to bytes
 * Thread   the loop's.
 */
#ifndef FG_HTTP_H1_INTERNAL_H
#define FG_HTTP_H1_INTERNAL_H

#include "base/chunked.h"
#include "http/stream.h"

/* What the next byte from the client belongs to. */
enum fg_h1_reading {
    FG_H1_READING_HEAD,
    FG_H1_READING_LENGTH,  /* a body of body_left more bytes */
    FG_H1_READING_CHUNKED, /* a chunked body */
    FG_H1_READING_TUNNEL,  /* no HTTP any more, until the end of the connection */
    FG_H1_READING_NOTHING, /* the request is complete, its answer is not */
};

struct fg_h1 {
    struct fg_codec codec; /* first */

    struct fg_stream *current; /* the one request that is read or answered; NULL between two */
    struct fg_list finished;   /* answers complete in `out`, to be done when they are flushed */
    uint32_t finished_count;

    /* reading */
    enum fg_h1_reading reading;
    uint64_t body_left;
    struct fg_chunked chunked;
    char *gather; /* small chunks of the present input; NULL outside of it */
    size_t gather_len;
    size_t discarded;     /* body bytes nobody wants, of the current request */
    bool is_body_stalled; /* bytes are held back: the handler holds its fill */
    bool has_ended;       /* the client says no more */
    uint8_t probe_count;  /* sent to it then */

    /* a head that came in pieces */
    char *head; /* heap, room for the largest head; NULL while none is open */
    size_t head_len;
    size_t head_room;
    size_t head_scanned; /* no line ends before this offset that is not dealt with */
    size_t head_line;    /* offset of the line being scanned */
    uint64_t head_started_ns;
    uint64_t rests_since_ns; /* the last answer was flushed, or the connection opened */
    unsigned blank_bytes;    /* CR and LF before a request line */

    /* connection */
    uint32_t request_count;
    bool wants_keep_alive; /* the current request allows it */
    bool is_closing;       /* no further request is read */
    bool is_draining;
    enum fg_close_mode close_mode; /* valid once is_closing */
    bool is_until_close;           /* the current answer ends with the connection */

    struct fg_byte_queue out;
    uint64_t said; /* bytes that have left it */
};

static inline struct fg_h1 *fg_h1_of(struct fg_codec *codec)
{
    return FG_CONTAINER_OF(codec, struct fg_h1, codec);
}

extern const struct fg_response_ops fg_h1_response_ops;

/*
 * Takes bytes of a head; when it is complete, *head is all of it up to and with the empty line,
 * valid until fg_h1_head_clear, and *is_complete is true. Returns how much of `input` was used; on
 * an error *error is set and the rest is worthless.
 */
size_t fg_h1_head_collect(struct fg_h1 *h1, struct fg_span input, struct fg_span *head,
                          bool *is_complete, enum fg_http_error *error);
void fg_h1_head_clear(struct fg_h1 *h1);

/* What each head's parser begins as. NULL: no memory for it. */
struct fg_h1_start *fg_h1_start_create(void);
void fg_h1_start_destroy(struct fg_h1_start *start);

/* Parses a complete head into stream->head. */
enum fg_http_error fg_h1_head_parse(struct fg_stream *stream, struct fg_span head);

/* No request after this one; say goodbye in `mode` once all is flushed. */
void fg_h1_close_after(struct fg_h1 *h1, enum fg_close_mode mode);

/*
 * How the connection ends behind the current answer. A client that was not the one to end it may be
 * saying more, and to close at that would reset it: answers that it has not read yet would be lost
 * (RFC 9112 section 9.6).
 */
enum fg_close_mode fg_h1_end_mode(const struct fg_h1 *h1);

/* The current answer is complete or cut: the stream leaves `current`. */
void fg_h1_detach(struct fg_h1 *h1);

/* The answer is 101: what follows in both directions is the tunnel's. */
void fg_h1_open_tunnel(struct fg_h1 *h1, struct fg_stream *stream);

/* "HTTP/1.1 100 Continue" */
void fg_h1_send_continue(struct fg_h1 *h1);

#endif
