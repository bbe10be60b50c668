/*
 * trace_context.h: the trace that a request belongs to, as its client says.
 * Thread   any; a pure function over parsed fields.
 * Source   W3C Trace Context, level 2, sections 3.2 and 4.
 */
#ifndef FG_PIPELINE_TRACE_CONTEXT_H
#define FG_PIPELINE_TRACE_CONTEXT_H

#include "backends/backend.h"

#define FG_TRACEPARENT_BYTES ((size_t)55)

struct fg_trace_context {
    struct fg_span trace_id; /* 32 digits, within the field */
    char flags;              /* the last digit: sampled (1), random (2); what is not known is 0 */
};

/*
 * False: a trace of our own begins, and the client's tracestate is about none: there is no
 * traceparent, or more than one, or it is malformed, or names nothing.
 */
bool fg_trace_context_read(const struct fg_exchange *ex, struct fg_trace_context *context);

#endif
