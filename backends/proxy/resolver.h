/*
 * resolver.h: keeps the addresses of named endpoints up to date, without ever blocking.
 * Thread   the first event loop of the cluster's; it alone looks names up, for all loops.
 */
#ifndef FG_PROXY_RESOLVER_H
#define FG_PROXY_RESOLVER_H

#include "base/status.h"

struct fg_proxy_thread;
struct fg_resolver;

/* FG_OK with *resolver NULL when there is no name among the endpoints. Starts to look up at once.
 */
FG_MUST_USE enum fg_status fg_resolver_open(struct fg_resolver **resolver,
                                            struct fg_proxy_thread *thread);
/* NULL is fine. Lookups that are on their way find nobody. */
void fg_resolver_close(struct fg_resolver *resolver);

#endif
