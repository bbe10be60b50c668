/*
 * schema_health.h: the tables of who of a cluster is well.
 * Thread   any; constants.
 */
#ifndef FG_CONFIG_SCHEMA_HEALTH_H
#define FG_CONFIG_SCHEMA_HEALTH_H

#include "config/schema.h"

extern const struct fg_table fg_table_cluster_check;
extern const struct fg_table fg_table_cluster_outlier;
extern const struct fg_table fg_table_endpoint_breaker;

#endif
