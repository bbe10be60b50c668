/*
 * loader.h: the inside of the loader: from nodes by tables into structs, then names into indices.
 * Thread   the loader's.
 *
 *    text -> yaml_tree -> load_table (load_value) -> resolve -> checks -> check_files -> snapshot
 *
 * Every step runs whatever the earlier ones found, over what could be read, so that all errors come
 * at once; a value that was refused keeps its default and is not checked again.
 */
#ifndef FG_CONFIG_LOADER_H
#define FG_CONFIG_LOADER_H

#include "config/raw.h"
#include "config/schema.h"

struct fg_loader {
    struct fg_config_report *report;
    const char *directory; /* relative paths start here */
};

/* Fill `into` by `table`: defaults first, then what `node` says; NULL: defaults alone. */
void fg_load_table(struct fg_loader *loader, const struct fg_table *table,
                   struct fg_yaml_node *node, void *into);

/*
 * One key that is no mapping of ours; `node` is not FG_YAML_NULL. A refused value is reported,
 * marks its node and changes nothing in `into`.
 */
void fg_load_value(struct fg_loader *loader, const struct fg_key *key, struct fg_yaml_node *node,
                   void *into);

/* The default of such a key; asserts that its text is good. */
void fg_load_initial(struct fg_loader *loader, const struct fg_key *key, void *into);

/* "1ms to 1h, or off", "a size such as 64KiB"...: what a value of `key` must look like. */
void fg_load_describe(const struct fg_key *key, char *out, size_t bytes);

/* The member of a table's struct at that offset. */
static inline void *fg_load_at(void *into, uint32_t offset)
{
    return (char *)into + offset;
}

/*
 * Reports `what` and the word, with the nearest of the `count` valid words, or all of them when
 * none is near. Returns the nearest or NULL.
 */
const char *fg_load_unknown_word(struct fg_loader *loader, unsigned line, unsigned column,
                                 const char *what, struct fg_span word, const char *const *words,
                                 size_t count);

/* `path` from `directory` on, leading "./" and "../" taken off where that is exact. NULL: memory.
 */
const char *fg_load_join_path(struct fg_loader *loader, struct fg_span path);

/* Names into indices, derived defaults, backends[]; fills snapshot->config from ->raw. */
void fg_config_resolve(struct fg_snapshot *snapshot);
void fg_config_resolve_rate_limits(struct fg_snapshot *snapshot); /* a part of it */

/* What must fit together. */
void fg_config_check_gateway(struct fg_snapshot *snapshot);
void fg_config_check_identity(struct fg_snapshot *snapshot);
void fg_config_check_backends(struct fg_snapshot *snapshot);
void fg_config_check_routes(struct fg_snapshot *snapshot);

/* What must be there on this machine. */
void fg_config_check_machine(struct fg_snapshot *snapshot);

/* As fg_config_parse, with a bound on the snapshot's memory: for tests of its exhaustion. */
enum fg_status fg_config_parse_bounded(struct fg_config **out, const char *name,
                                       struct fg_span text, bool check_files,
                                       fg_config_error_fn on_error, void *ctx, size_t *error_count,
                                       size_t memory_max);

#endif
