/*
 * origin.h: the first thing that is done to a request: who sent it, through which proxies.
 * Job      from a trusted proxy: take the client's address and scheme out of the forwarded fields;
 *          from anybody else: remove them. What backends are told later is only what is known.
 * Thread   the request's loop.
 * Memory   the request's arena.
 */
#ifndef FG_PIPELINE_ORIGIN_H
#define FG_PIPELINE_ORIGIN_H

#include "http/request.h"

/* False: the arena is used up, and the request must not go on with fields that may be forged. */
bool fg_origin_settle(struct fg_request *req);

#endif
