/*
 * trailers.h: the fields behind a body, from the text of a chunked body or one by one (HTTP/2).
 * Job      gather, check like any field, leave out what must not come behind a body.
 * Thread   the exchange's loop; no I/O.
 * Never    merges a trailer into the head, where it could change what was decided from it.
 * Memory   the exchange's arena, at most FG_TRAILER_BYTES_MAX of text and FG_TRAILERS_MAX fields.
 * Source   RFC 9110 section 6.5; RFC 9112 section 7.1.2; RFC 9113 section 8.1.
 */
#ifndef FG_TRAILERS_H
#define FG_TRAILERS_H

#include "backends/backend.h"

#define FG_TRAILERS_MAX 64u
#define FG_TRAILER_BYTES_MAX ((size_t)8192)

/* Zeroed is empty. */
struct fg_trailers {
    char *text; /* lines that were not taken apart yet */
    size_t text_len;
    size_t text_capacity;
    size_t bytes; /* names and values taken */
    size_t seen;  /* fields, also those left out */
    struct fg_field *fields;
    size_t count;
};

/* A run of a trailer section, as fg_chunked_next gives it. FG_ERR_NO_MEMORY, FG_ERR_LIMIT. */
FG_MUST_USE enum fg_status fg_trailers_add_text(struct fg_trailers *trailers,
                                                struct fg_arena *arena, struct fg_span run);

/* All the text is there: takes it apart. FG_ERR_INVALID: a line is no field; and as above. */
FG_MUST_USE enum fg_status fg_trailers_finish_text(struct fg_trailers *trailers,
                                                   struct fg_arena *arena);

/* One field, which is copied. FG_ERR_INVALID, FG_ERR_LIMIT, FG_ERR_NO_MEMORY. */
FG_MUST_USE enum fg_status fg_trailers_add(struct fg_trailers *trailers, struct fg_arena *arena,
                                           struct fg_span name, struct fg_span value);

#endif
