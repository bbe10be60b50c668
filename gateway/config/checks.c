/*
 * checks.c: see checks.h.
 */
#include "config/checks.h"

#include <stdarg.h>
#include <stdio.h>

void fg_config_error_at(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                        const char *key, const char *fmt, ...)
{
    char message[sizeof(((struct fg_error *)NULL)->message)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    const struct fg_yaml_node *value = key == NULL ? NULL : fg_yaml_find(node, key);
    unsigned line = 1;
    unsigned column = 1;
    if (value != NULL) {
        line = value->line;
        column = value->column;
    } else if (node != NULL) {
        line = node->key.data != NULL ? node->key_line : node->line;
        column = node->key.data != NULL ? node->key_column : node->column;
    }
    fg_config_report_add(&snapshot->report, line, column, "%s", message);
}

bool fg_config_is_written(const struct fg_yaml_node *node, const char *key)
{
    return fg_yaml_find(node, key) != NULL;
}

bool fg_config_is_sound(const struct fg_yaml_node *node, const char *key)
{
    const struct fg_yaml_node *value = fg_yaml_find(node, key);
    return value == NULL || !value->is_refused;
}

void fg_config_check_order(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                           const char *smaller, const char *larger, bool is_good)
{
    if (is_good || !fg_config_is_sound(node, smaller) || !fg_config_is_sound(node, larger))
        return;
    const char *at = fg_config_is_written(node, smaller) ? smaller : larger;
    fg_config_error_at(snapshot, node, at, "%s is above %s; expected it at or below", smaller,
                       larger);
}

void fg_config_refuse_keys(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                           const char *const *keys, const char *because)
{
    for (; *keys != NULL; keys++) {
        if (fg_config_is_written(node, *keys))
            fg_config_error_at(snapshot, node, *keys, "%s has no effect %s; expected it left out",
                               *keys, because);
    }
}
