/*
 * file_answer.h: from what is known of a file and what was asked, to a status and fields.
 * Job      path to file name, content type, validators, conditions and ranges.
 * Thread   any; pure but for the arena.
 * Source   RFC 9110 sections 8.8 (validators), 13 (conditions) and 14 (ranges).
 */
#ifndef FG_STATIC_FILE_ANSWER_H
#define FG_STATIC_FILE_ANSWER_H

#include "backends/byte_parts.h"
#include "policies/cache/accept_encoding.h"

#define FG_FILE_FIELDS_MAX 11u

/* What fstat said. */
struct fg_file_facts {
    uint64_t size_bytes;
    int64_t modified_s;
    uint32_t modified_ns;  /* within the second */
    enum fg_coding coding; /* what stands beside the file that was asked for; the rest is of that */
};

struct fg_file_answer {
    unsigned status; /* 200, 206, 304, 412 or 416 */
    struct fg_field fields[FG_FILE_FIELDS_MAX];
    size_t field_count;
    uint64_t first_byte; /* of the file; valid when body_bytes is not 0 and there are no parts */
    uint64_t body_bytes;
    const struct fg_byte_parts *parts; /* several ranges; NULL: one, or the whole */
};

/* What the answer depends on beside file and request. */
struct fg_file_rules {
    struct fg_span cache_control; /* empty: none */
    bool varies;                  /* it might be coded for another client */
    size_t ranges_max;            /* 1 to FG_BYTE_RANGES_MAX */
    int64_t now_s;                /* wall-clock time */
    uint64_t now_ns;              /* monotonic */
};

/*
 * The file below the root that `path` asks for, decoded and NUL-terminated in the arena; a path
 * that ends in '/' asks for `index`. FG_ERR_NOT_FOUND: it can name no file (a hidden one, a NUL, a
 * bad escape); FG_ERR_NO_MEMORY.
 */
FG_MUST_USE enum fg_status fg_file_name_of(struct fg_arena *arena, struct fg_span path,
                                           const char *index, struct fg_span *name);

/* By the name's extension; "application/octet-stream" for unknown ones. A constant. */
struct fg_span fg_file_content_type(struct fg_span name);

/* What is put behind the name of a file for the one that is coded so; empty: identity. A constant.
 */
struct fg_span fg_file_coding_suffix(enum fg_coding coding);

/* Could the answer be other than 200 with the whole file? */
bool fg_file_is_conditional(const struct fg_exchange *ex);

/* False without memory. */
FG_MUST_USE bool fg_file_answer_make(struct fg_exchange *ex, const struct fg_file_facts *facts,
                                     struct fg_span name, const struct fg_file_rules *rules,
                                     struct fg_file_answer *answer);

#endif
