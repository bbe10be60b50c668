/*
 * h2_check.h: what the fields of a message of HTTP/2 may be (RFC 9113 sections 8.1 to 8.3).
 * Job      say of a name what it is and of a value whether it may stand there, so that this can be
 *          kept with the field; then, of a request or an answer to one, whether its fields go
 *          together and its content has the length that it was said to have.
 * Thread   any; pure.
 * Never    repairs: what does not pass ends the stream with PROTOCOL_ERROR.
 */
#ifndef FG_H2_CHECK_H
#define FG_H2_CHECK_H

#include "backends/hpack_reader.h"
#include "base/field_id.h"

#include <stdint.h>

/* What a field is, by its name. */
enum fg_h2_kind {
    FG_H2_UNKNOWN, /* nobody has looked */
    FG_H2_BAD,     /* no name, an unknown pseudo field, or one about a connection of HTTP/1 */
    FG_H2_METHOD,
    FG_H2_SCHEME,
    FG_H2_AUTHORITY,
    FG_H2_PATH,
    FG_H2_PROTOCOL, /* RFC 8441 */
    FG_H2_STATUS,
    FG_H2_HOST,
    FG_H2_CONTENT_LENGTH,
    FG_H2_TE,
    FG_H2_PRIORITY,
    FG_H2_PLAIN, /* and, added to it, an enum fg_field_id */
};

/* What is kept with a field: a kind, and this bit where the value is not one for it. */
#define FG_H2_VALUE_BAD 0x80u

/* What has been seen of a message; zeroed but for content_length. */
struct fg_h2_check {
    uint32_t seen;          /* bits of h2_check.c */
    unsigned status;        /* of an answer; 0: none yet */
    int64_t content_length; /* -1: none was said */
    int64_t received;       /* of content */
    bool is_broken;         /* for whoever resets the stream when that is too much */
};

#define FG_H2_CHECK_INIT                                                                           \
    (struct fg_h2_check)                                                                           \
    {                                                                                              \
        .content_length = -1                                                                       \
    }

/* The kind of a name that the other side has sent. */
enum fg_h2_kind fg_h2_kind_of(struct fg_span name);
/* What is to be kept with a field of that kind. */
uint8_t fg_h2_note_of(enum fg_h2_kind kind, struct fg_span value);
/* The same of the whole field at this index in HPACK's static table, 1 to 61. */
uint8_t fg_h2_note_of_static(unsigned index);
/* The same of a field that was read; of one in the table it has to be found out but once. */
uint8_t fg_h2_note_of_item(const struct fg_hpack_item *item);

static inline enum fg_h2_kind fg_h2_kind_of_note(uint8_t note)
{
    return (enum fg_h2_kind)(note & ~FG_H2_VALUE_BAD);
}

/* Of a field that is no pseudo one. */
enum fg_field_id fg_h2_id_of_kind(enum fg_h2_kind kind);

/* ---- requests ---- */

/* The next field of a head, or of trailers. False: the request is malformed. */
bool fg_h2_check_field(struct fg_h2_check *check, uint8_t note, struct fg_span value,
                       bool is_trailer);
/* Was the scheme http or https? */
bool fg_h2_check_has_known_scheme(const struct fg_h2_check *check);
/* All fields of the head were there; `is_end`: and no content comes. */
bool fg_h2_check_head(struct fg_h2_check *check, bool is_end);

/* ---- answers ---- */

/* The same of an answer; whoever reads a head begins anew, after an interim one too. */
bool fg_h2_check_answer_field(struct fg_h2_check *check, uint8_t note, struct fg_span value,
                              bool is_trailer);
enum fg_h2_asked {
    FG_H2_ASKED_ALL,
    FG_H2_ASKED_HEAD,   /* by HEAD: no content comes, whatever length is said */
    FG_H2_ASKED_TUNNEL, /* by CONNECT: what comes behind 2xx has no length */
};
bool fg_h2_check_answer_head(struct fg_h2_check *check, bool is_end, enum fg_h2_asked asked);

/* ---- both ---- */

/* The same of trailers. */
bool fg_h2_check_trailers(const struct fg_h2_check *check, bool is_end);
/* So much content has come. */
bool fg_h2_check_content(struct fg_h2_check *check, size_t len);
/* And no more comes. */
bool fg_h2_check_end(const struct fg_h2_check *check);

#endif
