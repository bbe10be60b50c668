/*
 * load_table.c: one mapping of the file into one struct, by its table; descends into the tables
 * inside it.
 */
#include "config/loader.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#define KEYS_MAX 48 /* of one table */

static const struct fg_key *find_key(const struct fg_table *table, struct fg_span name)
{
    for (const struct fg_key *key = table->keys; key->name != NULL; key++) {
        if (fg_span_equal(name, fg_span_from_string(key->name)))
            return key;
    }
    return NULL;
}

static void load_defaults(struct fg_loader *loader, const struct fg_table *table, void *into)
{
    for (const struct fg_key *key = table->keys; key->name != NULL; key++) {
        switch (key->type) {
        case FG_KEY_OBJECT:
        case FG_KEY_SWITCH:
            load_defaults(loader, key->table, fg_load_at(into, key->offset));
            break;
        case FG_KEY_LIST:
        case FG_KEY_MAP:
            break;
        default:
            fg_load_initial(loader, key, into);
        }
    }
}

/*
 * A key that was plainly meant for another is that one from here on, refused: nobody then reports
 * the other as missing.
 */
static void report_unknown_key(struct fg_loader *loader, const struct fg_table *table,
                               struct fg_yaml_node *child)
{
    const char *names[KEYS_MAX];
    size_t count = 0;
    for (const struct fg_key *key = table->keys; key->name != NULL; key++) {
        assert(count < KEYS_MAX);
        names[count++] = key->name;
    }
    char what[128];
    snprintf(what, sizeof(what), "unknown key in %s:", table->path);
    const char *meant = fg_load_unknown_word(loader, child->key_line, child->key_column, what,
                                             child->key, names, count);
    if (meant == NULL)
        return;
    child->key = fg_span_from_string(meant);
    child->is_refused = true;
}

static void load_mapping(struct fg_loader *loader, const struct fg_table *table,
                         struct fg_yaml_node *node, void *into);

/* A mapping, its shorthand, or an error; `into` has its defaults already. */
static void load_object(struct fg_loader *loader, const struct fg_table *table, const char *name,
                        struct fg_yaml_node *node, void *into)
{
    if (node->is_refused)
        return;
    if (node->kind == FG_YAML_MAP) {
        load_mapping(loader, table, node, into);
        return;
    }
    if (node->kind == FG_YAML_SCALAR && table->shorthand != NULL) {
        const struct fg_key *key = find_key(table, fg_span_from_string(table->shorthand));
        assert(key != NULL);
        fg_load_value(loader, key, node, into);
        return;
    }
    node->is_refused = true;
    fg_config_report_add(loader->report, node->line, node->column,
                         "%s: %s; expected a mapping such as %s", name,
                         fg_yaml_kind_name(node->kind), table->example);
}

/* true and false stand for the mapping with its defaults, and for none. */
static void load_switch(struct fg_loader *loader, const struct fg_key *key,
                        struct fg_yaml_node *node, void *into)
{
    bool *is_on = fg_load_at(into, key->count_offset);
    bool is_true = fg_span_equal(node->text, FG_SPAN("true"));
    if (node->kind == FG_YAML_SCALAR && !node->is_refused &&
        (is_true || fg_span_equal(node->text, FG_SPAN("false")))) {
        *is_on = is_true;
        if (!is_true)
            return;
        struct fg_yaml_node empty = *node;
        empty.kind = FG_YAML_MAP;
        load_mapping(loader, key->table, &empty, fg_load_at(into, key->offset));
        return;
    }
    *is_on = true;
    load_object(loader, key->table, key->name, node, fg_load_at(into, key->offset));
}

static bool check_count(struct fg_loader *loader, const struct fg_key *key,
                        struct fg_yaml_node *node)
{
    if (node->count >= key->min && node->count <= key->max)
        return true;
    if (node->count == 0)
        fg_config_report_add(loader->report, node->line, node->column,
                             "%s: empty; expected at least %" PRIu64, key->name, key->min);
    else
        fg_config_report_add(loader->report, node->line, node->column,
                             "%s: %zu entries; expected at most %" PRIu64, key->name, node->count,
                             key->max);
    return false;
}

static bool load_member_name(struct fg_loader *loader, const struct fg_key *key,
                             struct fg_yaml_node *child, void *member)
{
    const char *problem = key->check(child->key);
    if (problem != NULL) {
        fg_config_report_add(loader->report, child->key_line, child->key_column, "%s: \"%.*s\" %s",
                             key->name, FG_SPAN_ARGS(child->key), problem);
        return false;
    }
    *(const char **)fg_load_at(member, key->table->name_offset) = child->key.data;
    return true;
}

/* The members of a list or of a mapping of the user's names, as an array. */
static void load_members(struct fg_loader *loader, const struct fg_key *key,
                         struct fg_yaml_node *node, void *into)
{
    enum fg_yaml_kind wanted = key->type == FG_KEY_MAP ? FG_YAML_MAP : FG_YAML_LIST;
    const struct fg_table *table = key->table;
    if (node->is_refused)
        return;
    if (node->kind != wanted) {
        node->is_refused = true;
        fg_config_report_add(loader->report, node->line, node->column,
                             wanted == FG_YAML_MAP ? "%s: %s; expected a mapping such as {NAME: %s}"
                                                   : "%s: %s; expected a list such as [%s]",
                             key->name, fg_yaml_kind_name(node->kind), table->example);
        return;
    }
    if (!check_count(loader, key, node) || node->count == 0)
        return;
    char *members = fg_config_alloc(loader->report, node->count * table->bytes);
    if (members == NULL)
        return;
    size_t count = 0;
    for (struct fg_yaml_node *child = node->first; child != NULL; child = child->next) {
        char *member = members + count * table->bytes;
        load_defaults(loader, table, member);
        if (key->type == FG_KEY_MAP && !load_member_name(loader, key, child, member))
            continue;
        *(const struct fg_yaml_node **)fg_load_at(member, table->node_offset) = child;
        struct fg_yaml_node as_empty = *child;
        if (child->kind == FG_YAML_NULL && key->type == FG_KEY_MAP)
            as_empty.kind = FG_YAML_MAP;
        load_object(loader, table, key->name, &as_empty, member);
        count++;
    }
    *(void **)fg_load_at(into, key->offset) = members;
    *(size_t *)fg_load_at(into, key->count_offset) = count;
}

static void load_child(struct fg_loader *loader, const struct fg_key *key,
                       struct fg_yaml_node *child, void *into)
{
    switch (key->type) {
    case FG_KEY_OBJECT:
        load_object(loader, key->table, key->name, child, fg_load_at(into, key->offset));
        return;
    case FG_KEY_SWITCH:
        load_switch(loader, key, child, into);
        return;
    case FG_KEY_LIST:
    case FG_KEY_MAP:
        load_members(loader, key, child, into);
        return;
    default:
        fg_load_value(loader, key, child, into);
    }
}

static void load_mapping(struct fg_loader *loader, const struct fg_table *table,
                         struct fg_yaml_node *node, void *into)
{
    for (struct fg_yaml_node *child = node->first; child != NULL; child = child->next) {
        const struct fg_key *key = find_key(table, child->key);
        if (key == NULL)
            report_unknown_key(loader, table, child);
        else if (child->kind != FG_YAML_NULL)
            load_child(loader, key, child, into);
    }
    bool has_key = node->key.data != NULL;
    for (const struct fg_key *key = table->keys; key->name != NULL; key++) {
        if (!key->is_required || fg_yaml_find(node, key->name) != NULL)
            continue;
        char example[96] = "";
        if (key->table != NULL)
            snprintf(example, sizeof(example), ", such as %s", key->table->example);
        fg_config_report_add(loader->report, has_key ? node->key_line : node->line,
                             has_key ? node->key_column : node->column,
                             "\"%s\" is missing in %s; expected it%s", key->name, table->path,
                             example);
    }
}

void fg_load_table(struct fg_loader *loader, const struct fg_table *table,
                   struct fg_yaml_node *node, void *into)
{
    load_defaults(loader, table, into);
    if (node != NULL)
        load_object(loader, table, table->path, node, into);
}
