/*
 * request_table.h: request id to object, for the requests of one event loop that a worker may still
 * speak of. An id is never used twice, so what comes late for a request that has gone finds
 * nothing.
 * Thread   the owning event loop.
 * Memory   fixed at create: two places for each of entries_max.
 */
#ifndef FG_INFERENCE_REQUEST_TABLE_H
#define FG_INFERENCE_REQUEST_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_request_table;

/* NULL when there is no memory. */
struct fg_request_table *fg_request_table_create(uint32_t entries_max);
void fg_request_table_destroy(struct fg_request_table *table);

/* `id` is not 0 and not in the table; false when entries_max are in it. */
bool fg_request_table_try_add(struct fg_request_table *table, uint64_t id, void *object);

/* The object, or NULL. */
void *fg_request_table_find(const struct fg_request_table *table, uint64_t id);

/* `id` is in the table. */
void fg_request_table_remove(struct fg_request_table *table, uint64_t id);

uint32_t fg_request_table_count(const struct fg_request_table *table);
/* A constant. */
uint32_t fg_request_table_entries_max(const struct fg_request_table *table);

#endif
