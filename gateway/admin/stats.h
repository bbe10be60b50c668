/*
 * stats.h: everything that is counted, as JSON (/stats) and as Prometheus text (/metrics).
 * Thread   the admin loop. Reads counters that others write; a number may be a moment old.
 */
#ifndef FG_ADMIN_STATS_H
#define FG_ADMIN_STATS_H

#include "admin/admin.h"

#include <jansson.h>

/* Totals and gauges in base units, grouped as docs/operations.md says. The caller owns it. */
json_t *fg_admin_stats(const struct fg_admin_options *options);

/* What the policies of the stages and the gates count: `policies` in it. The caller owns it. */
json_t *fg_admin_policies(const struct fg_admin_options *options);

/* Prometheus text exposition format 0.0.4; heap memory for free(). NULL without memory. */
char *fg_admin_metrics(const struct fg_admin_options *options, size_t *len);

/* Are all backends ready? *why names the first that is not. */
bool fg_admin_is_ready(const struct fg_admin_options *options, const char **backend,
                       const char **why);

#endif
