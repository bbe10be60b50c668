/*
 * chunked.h: takes a chunked request body apart, strictly: what two parsers could read differently
 * is refused.
 * Job      sizes of 1 to 16 hexadecimal digits, below 2^60; extensions are read over and trailers
 *          handed on within limits; every line ends in CRLF.
 * Thread   any; pure.
 * Source   RFC 9112 section 7.1; CVE-2023-39326 (extensions without end around single bytes).
 */
#ifndef FG_BASE_CHUNKED_H
#define FG_BASE_CHUNKED_H

#include "base/span.h"

/* Zeroed is ready for a body. */
struct fg_chunked {
    int state;
    unsigned digits;
    uint64_t left;        /* of the current chunk */
    size_t extension_len; /* of the current chunk */
    size_t extensions;    /* bytes of all, less what chunks and their data have paid for */
    size_t trailer_len;   /* of all trailers */
};

enum fg_chunked_result {
    FG_CHUNKED_MORE,    /* all of the input is used, the body goes on */
    FG_CHUNKED_DATA,    /* *data is a run of body bytes */
    FG_CHUNKED_TRAILER, /* *data is a run of the trailer section: lines with their line ends */
    FG_CHUNKED_DONE,    /* the body has ended; *input is what follows it */
    FG_CHUNKED_BAD,
};

/* Takes from the front of *input until there is something to tell. */
enum fg_chunked_result fg_chunked_next(struct fg_chunked *chunked, struct fg_span *input,
                                       size_t data_max, struct fg_span *data);

#endif
