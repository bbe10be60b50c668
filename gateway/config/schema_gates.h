/*
 * schema_gates.h: the tables of what stands before every backend, by enum fg_backend_kind.
 * Thread   any; constants.
 */
#ifndef FG_CONFIG_SCHEMA_GATES_H
#define FG_CONFIG_SCHEMA_GATES_H

#include "config/raw.h"
#include "config/schema.h"

extern const struct fg_table fg_tables_concurrency[];
extern const struct fg_table fg_tables_queue[];
extern const struct fg_table fg_tables_breaker[];
extern const struct fg_table fg_tables_reserve[];

/* The same two before a route. */
extern const struct fg_table fg_table_route_concurrency;
extern const struct fg_table fg_table_route_queue;

/* The four keys, for a table whose struct `holder` has a struct fg_backend_conf at `conf_member`.
 */
#define FG_GATE_KEYS(backend_kind, holder, conf_member)                                            \
    {.name = "concurrency",                                                                        \
     .type = FG_KEY_OBJECT,                                                                        \
     .offset = (uint32_t)offsetof(struct holder, conf_member.concurrency),                         \
     .table = &fg_tables_concurrency[backend_kind],                                                \
     .doc = "Most requests in flight."},                                                           \
        {.name = "queue",                                                                          \
         .type = FG_KEY_OBJECT,                                                                    \
         .offset = (uint32_t)offsetof(struct holder, conf_member.queue),                           \
         .table = &fg_tables_queue[backend_kind],                                                  \
         .doc = "Where requests wait for a slot."},                                                \
        {.name = "breaker",                                                                        \
         .type = FG_KEY_OBJECT,                                                                    \
         .offset = (uint32_t)offsetof(struct holder, conf_member.breaker),                         \
         .table = &fg_tables_breaker[backend_kind],                                                \
         .doc = "The circuit breaker."},                                                           \
    {                                                                                              \
        .name = "reserve", .type = FG_KEY_OBJECT,                                                  \
        .offset = (uint32_t)offsetof(struct holder, conf_member.reserve),                          \
        .table = &fg_tables_reserve[backend_kind],                                                 \
        .doc = "What no other backend's requests can take."                                        \
    }

#endif
