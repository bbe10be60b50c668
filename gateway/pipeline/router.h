/*
 * router.h: which route a request takes: the first in file order whose host, path, method and
 * fields all match.
 * Thread   immutable once built; any thread.
 */
#ifndef FG_PIPELINE_ROUTER_H
#define FG_PIPELINE_ROUTER_H

#include "backends/backend.h"
#include "config/config.h"

struct fg_router;

/* Indexes `config->routes`, which must outlive it. NULL without memory. */
struct fg_router *fg_router_create(const struct fg_config *config);
void fg_router_destroy(struct fg_router *router);

/*
 * The route, or NULL. Then *other_methods is a set of method bits (1 << enum fg_method) that a
 * route would have taken at this path (for 405 and Allow), 0 when there is none (404).
 */
const struct fg_route_conf *fg_router_find(const struct fg_router *router,
                                           const struct fg_exchange *ex, uint32_t *other_methods);

#endif
