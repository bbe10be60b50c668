/*
 * kv_report.h: `floodgate kv`: the inference pool's shared memory as a page for people.
 */
#ifndef FG_ADMIN_KV_REPORT_H
#define FG_ADMIN_KV_REPORT_H

#include <jansson.h>
#include <stdio.h>

/* `stats` is the whole of /stats. */
void fg_kv_report(FILE *out, const json_t *stats);

#endif
