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

/*
 * A dictionary of structured fields (RFC 8941 section 3.2): members unknown, or of another type
 * or out of range, are as good as absent. False, and *field is the default: it is none.
 */
bool fg_priority_field_parse(struct fg_span text, struct fg_priority_field *field);

#endif
