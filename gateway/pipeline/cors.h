/*
 * cors.h: which pages of other origins may use a route, said by the gateway for its backends.
 * Job      answer preflights (they never reach a backend); mark answers for allowed origins.
 * Thread   the request's loop.
 * Source   the Fetch standard, section 3.2 "CORS protocol".
 */
#ifndef FG_PIPELINE_CORS_H
#define FG_PIPELINE_CORS_H

#include "flow.h"

#define FG_CORS_FIELDS_MAX 4u

/* The method that a preflight asks for; data is NULL when it is none. */
struct fg_span fg_cors_preflight_method(const struct fg_exchange *ex);

/* Answers it, by flow->route; a refused one is answered too, only without permission in it. */
void fg_cors_answer_preflight(struct fg_flow *flow);

/*
 * The fields of an answer on a route with CORS, at most FG_CORS_FIELDS_MAX; those of a backend that
 * speak of the same are taken out of `fields`. Returns how many were added behind *count.
 */
void fg_cors_mark(const struct fg_flow *flow, struct fg_field *fields, size_t *count);

#endif
