/*
 * accept_encoding.h: which form of a stored body a client gets (RFC 9110 section 12.5.3).
 * Thread   any; pure functions.
 */
#ifndef FG_POLICIES_CACHE_ACCEPT_ENCODING_H
#define FG_POLICIES_CACHE_ACCEPT_ENCODING_H

#include <stddef.h>
#include <stdint.h>

/* In the order of preference among those that the client likes equally, worst first. */
enum fg_coding {
    FG_CODING_IDENTITY,
    FG_CODING_GZIP,
    FG_CODING_ZSTD,
    FG_CODING_BR,
    FG_CODING_COUNT
};

struct fg_accept_encoding {
    uint16_t permille[FG_CODING_COUNT]; /* q x 1000; 0: not acceptable */

    /* of the lines so far, UINT16_MAX: not named */
    uint16_t listed[FG_CODING_COUNT];
    uint16_t star;
};

/* As without the field: only the plain form, though the RFC would allow any. */
void fg_accept_encoding_init(struct fg_accept_encoding *accept);

/* Add the value of a line of the field: several count as if commas joined them (RFC 9110, 5.3). */
void fg_accept_encoding_parse(struct fg_accept_encoding *accept, const char *text, size_t len);

/*
 * The best of `available` (bits 1 << enum fg_coding; IDENTITY counts as available always). IDENTITY
 * when nothing is acceptable: the RFC lets us ignore the field.
 */
enum fg_coding fg_accept_encoding_choose(const struct fg_accept_encoding *accept,
                                         unsigned available);

/* The name in Content-Encoding; "identity" is never sent. */
const char *fg_coding_name(enum fg_coding coding);

#endif
