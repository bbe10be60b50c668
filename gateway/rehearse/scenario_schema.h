/*
 * scenario_schema.h: what may stand in a scenario, as tables for the configuration's loader.
 * Thread   any; constants.
 */
#ifndef FG_REHEARSE_SCENARIO_SCHEMA_H
#define FG_REHEARSE_SCENARIO_SCHEMA_H

#include "config/schema.h"
#include "rehearse/scenario.h"

/* The whole file; fills struct fg_scenario. */
extern const struct fg_table fg_table_scenario;

#endif
