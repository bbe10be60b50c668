/*
 * cache_unread.h: answers out of the cache that their clients do not take.
 * Job      a body that was pushed out of the cache stays for as long as somebody is being sent it,
 *          in the room in which others are fetched. While that is short, whoever has taken next to
 *          nothing of such a body for a while gives it up: with no room nothing more is kept, and
 *          every request for it goes to its backend. What is fetched and not kept comes as fast as
 *          the slowest reads it: who takes nothing leaves it to the others.
 * Thread   the loop's.
 * Never    cuts an answer that gets on, or one that is in nobody's way.
 */
#ifndef FG_PIPELINE_CACHE_UNREAD_H
#define FG_PIPELINE_CACHE_UNREAD_H

#include <stdbool.h>

struct fg_flow;
struct fg_pipeline_thread;

/* False: no memory. */
bool fg_cache_unread_init(struct fg_pipeline_thread *thread);
void fg_cache_unread_fini(struct fg_pipeline_thread *thread);

/* It is being sent what the cache holds; of an answer that has ended, flow->cache_sent or
 * cache_shared says what.
 * To be forgotten before the flow is over; harmless when it was never added. */
void fg_cache_unread_add(struct fg_flow *flow);
void fg_cache_unread_forget(struct fg_flow *flow);

#endif
