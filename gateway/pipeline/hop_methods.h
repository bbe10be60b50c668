/*
 * hop_methods.h: requests that ask about the way and not for a resource: OPTIONS for the server as
 * a whole, TRACE, and OPTIONS whose Max-Forwards ends here.
 * Thread   the request's loop.
 * Source   RFC 9110 sections 7.6.2, 9.3.7, 9.3.8; RFC 9112 section 3.2.4.
 */
#ifndef FG_PIPELINE_HOP_METHODS_H
#define FG_PIPELINE_HOP_METHODS_H

#include "flow.h"

/* "GET, HEAD", of method bits; 0 is any. GET implies HEAD. Empty without memory. */
struct fg_span fg_hop_allow(struct fg_arena *arena, uint32_t methods);

/*
 * Before the route is looked for. True: the request was for us, and is answered. Otherwise it goes
 * on, with one less in Max-Forwards where that counts.
 */
bool fg_hop_methods_answer(struct fg_flow *flow);

#endif
