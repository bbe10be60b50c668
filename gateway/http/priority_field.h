/*
 * priority_field.h: what a Priority field says (RFC 9218 section 4).
 * Thread   any; a pure function.
 */
#ifndef FG_HTTP_PRIORITY_FIELD_H
#define FG_HTTP_PRIORITY_FIELD_H

#include "base/span.h"

#include <stdint.h>

#define FG_PRIORITY_URGENCY_DEFAULT 3u
#define FG_PRIORITY_URGENCY_MAX 7u

struct fg_priority_field {
    uint8_t urgency; /* 0, the most urgent, to 7 */
    bool is_incremental;
};

#define FG_PRIORITY_FIELD_USUAL                                                                    \
    (struct fg_priority_field)                                                                     \
    {                                                                                              \
        FG_PRIORITY_URGENCY_DEFAULT, false                                                         \
    }

/*
 * A dictionary of structured fields (RFC 8941 section 3.2): members unknown, or of another type
 * or out of range, are as good as absent. False, and *field is the default: it is none.
 */
bool fg_priority_field_parse(struct fg_span text, struct fg_priority_field *field);
/* What `text` says over what *field has: a further field of one head. False: it is unchanged. */
bool fg_priority_field_add(struct fg_span text, struct fg_priority_field *field);

#endif
