/*
 * explain.h: all that was decided about one recent request.
 * Thread   any: records are copied out under their lock.
 */
#ifndef FG_ADMIN_EXPLAIN_H
#define FG_ADMIN_EXPLAIN_H

#include "pipeline/pipeline.h"

#include <jansson.h>

/* NULL when no loop has a record of it any more (*is_known false), or without memory. */
json_t *fg_admin_explain(const struct fg_pipeline *pipeline, struct fg_span request_id,
                         bool *is_known);

#endif
