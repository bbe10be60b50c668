/*
 * prometheus.h: what the files that write /metrics share.
 * Thread   the admin loop.
 */
#ifndef FG_ADMIN_PROMETHEUS_H
#define FG_ADMIN_PROMETHEUS_H

#include "admin/admin.h"

#include <stdio.h>

/* HELP and TYPE, before the samples of floodgate_NAME. */
void fg_prometheus_family(FILE *out, const char *name, const char *type, const char *help);

/* All numbers of `policies` in /stats. */
void fg_prometheus_write_policies(FILE *out, const struct fg_admin_options *options);

#endif
