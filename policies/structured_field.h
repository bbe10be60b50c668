/*
 * structured_field.h: dictionaries of structured fields (RFC 8941 section 3.2), member by member.
 * Thread   any; pure functions.
 */
#ifndef FG_POLICIES_STRUCTURED_FIELD_H
#define FG_POLICIES_STRUCTURED_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fg_sf_type {
    FG_SF_MALFORMED, /* the whole field is, and nothing in it counts */
    FG_SF_END,
    FG_SF_INTEGER,
    FG_SF_BOOLEAN, /* true also without a value */
    FG_SF_OTHER,
};

struct fg_sf_member {
    const char *key; /* in the text */
    size_t key_len;
    int64_t number; /* an integer, or 0 and 1 */
};

/* Where it is read; the text stays the caller's. */
struct fg_sf_dictionary {
    const char *at;
    const char *end;
};

void fg_sf_dictionary_init(struct fg_sf_dictionary *dictionary, const char *text, size_t len);

/* The type of the next member's value, or END or MALFORMED, behind which there is no other call. */
enum fg_sf_type fg_sf_dictionary_next(struct fg_sf_dictionary *dictionary,
                                      struct fg_sf_member *member);

#endif
