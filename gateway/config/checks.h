/*
 * checks.h: what the cross checks share: errors at a key's place, and the usual sorts of them.
 * Thread   the loader's.
 */
#ifndef FG_CONFIG_CHECKS_H
#define FG_CONFIG_CHECKS_H

#include "config/raw.h"

/*
 * An error at the value of `key` within `node`; at the node itself when the key is NULL or not
 * written; at the start of the file when there is no such section.
 */
void fg_config_error_at(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                        const char *key, const char *fmt, ...) FG_PRINTF(4, 5);

bool fg_config_is_written(const struct fg_yaml_node *node, const char *key);

/* Not refused already: another error about the same value would be the second for one mistake. */
bool fg_config_is_sound(const struct fg_yaml_node *node, const char *key);

/* `is_good` says that `smaller` is not above `larger`; the error is at the one that is written. */
void fg_config_check_order(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                           const char *smaller, const char *larger, bool is_good);

/* The limit and the queue that are written below `node`. */
void fg_config_check_limit(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                           const struct fg_concurrency_conf *concurrency,
                           const struct fg_queue_conf *queue);

/*
 * A key that would do nothing is an error: whoever wrote it believes that it does something.
 * `keys` ends with NULL; `because` reads as "with kind fixed".
 */
void fg_config_refuse_keys(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                           const char *const *keys, const char *because);

#endif
