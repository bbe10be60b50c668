/*
 * refusal_body.h: what a refusal says to an app: {"error":{...}}, design.md's form of every error.
 * Thread   any; plain values.
 */
#ifndef FG_PIPELINE_REFUSAL_BODY_H
#define FG_PIPELINE_REFUSAL_BODY_H

#include "base/arena.h"
#include "base/span.h"

struct fg_refusal;

/*
 * The JSON, in the arena; data is NULL when there is no memory. `retry_after_ns` is the spread one,
 * which the refusal's own is not, in whole milliseconds; 0: coming again is no use.
 */
struct fg_span fg_refusal_body(struct fg_arena *arena, const struct fg_refusal *refusal,
                               const char *code, uint64_t retry_after_ns,
                               struct fg_span request_id);

/* What the body begins with, down to the policy: the same for all whom one policy refuses for one
 * reason, so that it can be made once (refusal->lead). Its length; there is no NUL behind it. */
#define FG_REFUSAL_LEAD_MAX 960
size_t fg_refusal_lead(const struct fg_refusal *refusal, const char *code,
                       char to[FG_REFUSAL_LEAD_MAX]);

#endif
