/*
 * json_body.h: a request body that has to be one JSON object.
 */
#ifndef FG_JSON_BODY_H
#define FG_JSON_BODY_H

#include "backends/backend.h"

/*
 * Parse `body`, the whole one, of at most `values_max` values (base/json_values.h). NULL after it
 * has answered 400 `invalid_json` with the place and the reason, or 413 `body_too_complex`, in
 * which case `ex` is gone. The caller owns the reference.
 */
json_t *fg_json_body_parse_object(struct fg_exchange *ex, struct fg_span body, uint64_t values_max);

#endif
