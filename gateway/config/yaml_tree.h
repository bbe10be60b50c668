/*
 * yaml_tree.h: a YAML document as a tree in which every key and value knows its place.
 * Job      the part of YAML that a configuration needs: mappings, lists, scalars, one document.
 *          Anchors, aliases, merge keys, tags and further documents are refused by name: written
 *          out, a file means what it says, and no small text can unfold into a large one.
 * Thread   the loader's.
 * Memory   the report's arena; bounded by FG_YAML_NODES_MAX and FG_YAML_DEPTH_MAX.
 */
#ifndef FG_CONFIG_YAML_TREE_H
#define FG_CONFIG_YAML_TREE_H

#include "base/span.h"
#include "config/report.h"

#define FG_YAML_NODES_MAX 65536u
#define FG_YAML_DEPTH_MAX 16u

enum fg_yaml_kind { FG_YAML_NULL, FG_YAML_SCALAR, FG_YAML_LIST, FG_YAML_MAP };

struct fg_yaml_node {
    enum fg_yaml_kind kind;
    bool is_refused; /* an error of this value was reported already */

    /* place of the value, from 1 */
    unsigned line;
    unsigned column;

    /* scalar: NUL-terminated behind the length, without NUL inside */
    struct fg_span text;   /* with the environment filled in */
    struct fg_span source; /* how it begins in the file; for messages, never a secret's value */

    /* as a member of a mapping */
    struct fg_span key;
    unsigned key_line;
    unsigned key_column;

    /* list and mapping: children in file order */
    struct fg_yaml_node *first;
    struct fg_yaml_node *last;
    struct fg_yaml_node *next; /* of the same parent */
    size_t count;
};

/* The root, or NULL when there is none to check further; then the report has the reason. */
struct fg_yaml_node *fg_yaml_tree_parse(struct fg_config_report *report, struct fg_span text);

/* The child with that key; NULL when it is absent, has no value, or `map` is NULL or no mapping. */
const struct fg_yaml_node *fg_yaml_find(const struct fg_yaml_node *map, const char *key);

/* "a mapping", "a list", "a value", "nothing". */
const char *fg_yaml_kind_name(enum fg_yaml_kind kind);

#endif
