/*
 * chunked_body.h: takes a server's chunked body apart, strictly: what two parsers could read
 * differently is an error, since the client would be the other parser.
 * Job      sizes of 1 to 15 hexadecimal digits; every line ends in CRLF; extensions and trailers
 *          are read over, within limits.
 * Thread   any; pure.
 * Source   RFC 9112 section 7.1.
 */
#ifndef FG_PROXY_CHUNKED_BODY_H
#define FG_PROXY_CHUNKED_BODY_H

#include "base/span.h"

/* Zeroed is the start of a body. */
struct fg_chunked_body {
    unsigned state;
    unsigned digits;
    uint64_t left;          /* of the current chunk */
    size_t extension_bytes; /* of the current chunk */
    size_t trailer_bytes;   /* of all trailers */
};

enum fg_chunked_body_result {
    FG_CHUNKED_BODY_MORE, /* all of the input is used, the body goes on */
    FG_CHUNKED_BODY_DATA, /* *data is a run of body bytes, not empty */
    FG_CHUNKED_BODY_DONE, /* the body has ended; *input is what follows it */
    FG_CHUNKED_BODY_BAD,
};

/* Takes from the front of *input until there is something to tell. */
enum fg_chunked_body_result fg_chunked_body_next(struct fg_chunked_body *body,
                                                 struct fg_span *input, struct fg_span *data);

#endif
