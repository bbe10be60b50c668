/*
 * cache_pages.h: what the cache holds, and dropping it, for operators.
 * Thread   the admin server's.
 */
#ifndef FG_ADMIN_CACHE_PAGES_H
#define FG_ADMIN_CACHE_PAGES_H

#include "admin/admin.h"

#include <jansson.h>

/* Objects below ?prefix= (all without one), at most 200 of them. NULL without memory. */
json_t *fg_admin_cache_objects(const struct fg_admin_options *options,
                               const struct fg_exchange *ex);

/* One of ?path=, ?prefix= and ?tag=, or none for everything. NULL: another query. */
json_t *fg_admin_purge_cache(const struct fg_admin_options *options, const struct fg_exchange *ex);

#endif
