/*
 * yaml_tree.c: libyaml's events into nodes.
 * libyaml checks UTF-8 and the grammar; its errors become ours, at its place. After a syntax error
 * nothing behind it can be trusted, so that error ends the reading; all others do not.
 */
#include "config/yaml_tree.h"

#include "config/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#define SOURCE_BYTES_MAX ((size_t)80)
#define CUT "..."

struct reader {
    yaml_parser_t parser;
    struct fg_config_report *report;
    struct fg_span text;
    unsigned node_count;
    bool is_broken; /* no further event can be had */
};

static unsigned place(size_t zero_based)
{
    return zero_based >= 0x7fffffff ? 0x7fffffff : (unsigned)zero_based + 1;
}

static void report_at(struct reader *r, yaml_mark_t mark, const char *message)
{
    fg_config_report_add(r->report, place(mark.line), place(mark.column), "%s", message);
}

static void report_syntax(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) {
        r->report->is_exhausted = true;
        return;
    }
    const char *problem = p->problem != NULL ? p->problem : "unreadable text";
    if (p->error == YAML_READER_ERROR) {
        size_t line = 0;
        for (size_t i = 0; i < r->text.len && i < p->problem_offset; i++)
            line += r->text.data[i] == '\n';
        fg_config_report_add(r->report, place(line), 1, "not readable as text: %s; expected UTF-8",
                             problem);
        return;
    }
    size_t index = p->problem_mark.index;
    if (index < r->text.len && r->text.data[index] == '\t') {
        report_at(r, p->problem_mark, "a tab in the indentation; expected spaces");
        return;
    }
    const char *during = p->context != NULL ? p->context : "while reading the file";
    char begun[48] = "";
    if (p->context != NULL && p->context_mark.line < p->problem_mark.line)
        snprintf(begun, sizeof(begun), " begun in line %u", place(p->context_mark.line));
    fg_config_report_add(r->report, place(p->problem_mark.line), place(p->problem_mark.column),
                         "not valid YAML: %s %s%s; expected \"key: value\" lines, indented alike",
                         problem, during, begun);
}

/* False when the events have ended or broken; otherwise the caller deletes the event. */
static bool next_event(struct reader *r, yaml_event_t *event)
{
    if (r->is_broken)
        return false;
    if (yaml_parser_parse(&r->parser, event) == 0) {
        r->is_broken = true;
        report_syntax(r);
        return false;
    }
    return true;
}

static struct fg_yaml_node *add_node(struct reader *r, const yaml_event_t *event,
                                     enum fg_yaml_kind kind)
{
    if (r->node_count++ >= FG_YAML_NODES_MAX) {
        if (!r->is_broken)
            report_at(r, event->start_mark, "too many values; expected at most 65536 in one file");
        r->is_broken = true;
        return NULL;
    }
    struct fg_yaml_node *node = fg_config_alloc(r->report, sizeof(*node));
    if (node == NULL) {
        r->is_broken = true;
        return NULL;
    }
    node->kind = kind;
    node->line = place(event->start_mark.line);
    node->column = place(event->start_mark.column);
    return node;
}

static void refuse_extras(struct reader *r, const yaml_event_t *event, const yaml_char_t *anchor,
                          const yaml_char_t *tag)
{
    if (anchor != NULL)
        report_at(r, event->start_mark,
                  "anchors (&name) are not supported; expected the value written out where it is "
                  "used");
    if (tag != NULL)
        report_at(r, event->start_mark, "tags (!name) are not supported; expected a plain value");
}

static void expand(struct reader *r, struct fg_yaml_node *node)
{
    struct fg_span culprit = {NULL, 0};
    switch (fg_environment_expand(r->report->arena, node->source, &node->text, &culprit)) {
    case FG_ENVIRONMENT_OK:
        return;
    case FG_ENVIRONMENT_UNKNOWN:
        fg_config_report_add(r->report, node->line, node->column,
                             "the environment has no variable \"%.*s\"; expected it to be set, or "
                             "a default as in ${%.*s:-default}",
                             FG_SPAN_ARGS(culprit), FG_SPAN_ARGS(culprit));
        break;
    case FG_ENVIRONMENT_SYNTAX:
        fg_config_report_add(r->report, node->line, node->column,
                             "\"%.*s\" is no reference to the environment; expected ${NAME} or "
                             "${NAME:-default}, or $${ for a plain ${",
                             FG_SPAN_ARGS(culprit));
        break;
    case FG_ENVIRONMENT_TOO_LONG:
        fg_config_report_add(r->report, node->line, node->column,
                             "the value from the environment is too long; expected at most 64KiB");
        break;
    case FG_ENVIRONMENT_NO_MEMORY:
        r->report->is_exhausted = true;
        break;
    }
    node->is_refused = true;
}

/* What is wrong with a value stands behind it in the message, and must not be pushed out by it. */
static void shorten_source(struct reader *r, struct fg_yaml_node *node)
{
    char shown[SOURCE_BYTES_MAX + sizeof(CUT)] = "";
    size_t len = SOURCE_BYTES_MAX;
    if (node->source.len <= SOURCE_BYTES_MAX)
        return;
    while (len > 0 && ((unsigned char)node->source.data[len] & 0xc0) == 0x80)
        len--; /* no half of a character */
    memcpy(shown, node->source.data, len);
    memcpy(shown + len, CUT, sizeof(CUT));
    struct fg_span copy = fg_config_copy(r->report, fg_span_make(shown, len + sizeof(CUT) - 1));
    if (copy.data != NULL)
        node->source = copy;
}

static bool is_null_word(struct fg_span text)
{
    return text.len == 0 || fg_span_equal(text, FG_SPAN("~")) ||
           fg_span_equal(text, FG_SPAN("null"));
}

static struct fg_yaml_node *build_scalar(struct reader *r, const yaml_event_t *event)
{
    struct fg_yaml_node *node = add_node(r, event, FG_YAML_SCALAR);
    if (node == NULL)
        return NULL;
    refuse_extras(r, event, event->data.scalar.anchor, event->data.scalar.tag);
    struct fg_span text =
        fg_span_make((const char *)event->data.scalar.value, event->data.scalar.length);
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && is_null_word(text)) {
        node->kind = FG_YAML_NULL;
        return node;
    }
    node->source = fg_config_copy(r->report, text);
    node->text = node->source;
    if (node->source.data == NULL) {
        r->is_broken = true;
        return NULL;
    }
    if (text.len > 0 && memchr(text.data, '\0', text.len) != NULL) {
        report_at(r, event->start_mark, "the value contains a NUL; expected text without it");
        node->is_refused = true;
        return node;
    }
    expand(r, node);
    shorten_source(r, node);
    return node;
}

static void append(struct fg_yaml_node *parent, struct fg_yaml_node *child)
{
    if (parent->last == NULL)
        parent->first = child;
    else
        parent->last->next = child;
    parent->last = child;
    parent->count++;
}

static int by_key(const void *left, const void *right)
{
    const struct fg_yaml_node *a = *(const struct fg_yaml_node *const *)left;
    const struct fg_yaml_node *b = *(const struct fg_yaml_node *const *)right;
    size_t shorter = a->key.len < b->key.len ? a->key.len : b->key.len;
    int order = shorter == 0 ? 0 : memcmp(a->key.data, b->key.data, shorter);
    if (order != 0)
        return order;
    if (a->key.len != b->key.len)
        return a->key.len < b->key.len ? -1 : 1;
    if (a->key_line != b->key_line)
        return a->key_line < b->key_line ? -1 : 1;
    return a->key_column < b->key_column ? -1 : 1;
}

/* Sorted, equal keys are neighbours, the first in the file first. */
static void find_duplicates(struct reader *r, const struct fg_yaml_node *map)
{
    if (map->count < 2)
        return;
    const struct fg_yaml_node **sorted =
        fg_config_alloc(r->report, map->count * sizeof(const struct fg_yaml_node *));
    if (sorted == NULL)
        return;
    size_t count = 0;
    for (const struct fg_yaml_node *child = map->first; child != NULL; child = child->next)
        sorted[count++] = child;
    qsort(sorted, count, sizeof(sorted[0]), by_key);
    size_t first = 0;
    for (size_t i = 1; i < count; i++) {
        if (!fg_span_equal(sorted[i]->key, sorted[first]->key)) {
            first = i;
            continue;
        }
        fg_config_report_add(r->report, sorted[i]->key_line, sorted[i]->key_column,
                             "\"%.*s\" is there twice; expected it once (the first is in line %u)",
                             FG_SPAN_ARGS(sorted[i]->key), sorted[first]->key_line);
    }
}

static struct fg_yaml_node *build(struct reader *r, const yaml_event_t *event, unsigned depth);

static struct fg_yaml_node *build_list(struct reader *r, const yaml_event_t *event, unsigned depth)
{
    struct fg_yaml_node *list = add_node(r, event, FG_YAML_LIST);
    if (list == NULL)
        return NULL;
    refuse_extras(r, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
    yaml_event_t next;
    while (next_event(r, &next)) {
        if (next.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&next);
            return list;
        }
        struct fg_yaml_node *item = build(r, &next, depth + 1);
        yaml_event_delete(&next);
        if (item != NULL)
            append(list, item);
    }
    return NULL;
}

/* A key that is no plain word is reported and its value read past. */
static bool check_key(struct reader *r, const yaml_event_t *event)
{
    if (event->type == YAML_ALIAS_EVENT) {
        report_at(r, event->start_mark, "an alias as a key; expected a word");
        return false;
    }
    if (event->type != YAML_SCALAR_EVENT) {
        report_at(r, event->start_mark, "a list or mapping as a key; expected a word");
        return false;
    }
    struct fg_span key =
        fg_span_make((const char *)event->data.scalar.value, event->data.scalar.length);
    refuse_extras(r, event, event->data.scalar.anchor, event->data.scalar.tag);
    if (fg_span_equal(key, FG_SPAN("<<"))) {
        report_at(r, event->start_mark,
                  "merge keys (<<) are not supported; expected the keys written out");
        return false;
    }
    if (key.len == 0 || memchr(key.data, '\0', key.len) != NULL) {
        report_at(r, event->start_mark, "an empty key; expected a word");
        return false;
    }
    return true;
}

static void skip_collection(struct reader *r, const yaml_event_t *event, unsigned depth)
{
    if (event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT)
        (void)build(r, event, depth);
}

static struct fg_yaml_node *build_map(struct reader *r, const yaml_event_t *event, unsigned depth)
{
    struct fg_yaml_node *map = add_node(r, event, FG_YAML_MAP);
    if (map == NULL)
        return NULL;
    refuse_extras(r, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
    yaml_event_t key;
    while (next_event(r, &key)) {
        if (key.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&key);
            find_duplicates(r, map);
            return map;
        }
        bool is_usable = check_key(r, &key);
        if (!is_usable)
            skip_collection(r, &key, depth + 1);
        struct fg_span text = {NULL, 0};
        if (is_usable)
            text = fg_config_copy(r->report, fg_span_make((const char *)key.data.scalar.value,
                                                          key.data.scalar.length));
        yaml_mark_t mark = key.start_mark;
        yaml_event_delete(&key);
        yaml_event_t value;
        if (!next_event(r, &value))
            return NULL;
        struct fg_yaml_node *child = build(r, &value, depth + 1);
        yaml_event_delete(&value);
        if (child == NULL || text.data == NULL)
            continue;
        child->key = text;
        child->key_line = place(mark.line);
        child->key_column = place(mark.column);
        append(map, child);
    }
    return NULL;
}

/* NULL: reading has ended (is_broken); an alias becomes a refused empty value. */
static struct fg_yaml_node *build(struct reader *r, const yaml_event_t *event, unsigned depth)
{
    if (depth > FG_YAML_DEPTH_MAX) {
        if (!r->is_broken)
            report_at(r, event->start_mark, "nested too deeply; expected at most 16 levels");
        r->is_broken = true;
        return NULL;
    }
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return build_scalar(r, event);
    case YAML_SEQUENCE_START_EVENT:
        return build_list(r, event, depth);
    case YAML_MAPPING_START_EVENT:
        return build_map(r, event, depth);
    case YAML_ALIAS_EVENT: {
        report_at(r, event->start_mark,
                  "aliases (*name) are not supported; expected the value written out");
        struct fg_yaml_node *node = add_node(r, event, FG_YAML_SCALAR);
        if (node != NULL) {
            node->is_refused = true;
            node->text = FG_SPAN("");
            node->source = node->text;
        }
        return node;
    }
    default:
        r->is_broken = true;
        return NULL;
    }
}

/* The document's root, and the check that no other document follows. */
static struct fg_yaml_node *read_documents(struct reader *r)
{
    struct fg_yaml_node *root = NULL;
    unsigned documents = 0;
    yaml_event_t event;
    while (next_event(r, &event)) {
        yaml_event_type_t type = event.type;
        if (type == YAML_DOCUMENT_START_EVENT && ++documents > 1) {
            report_at(r, event.start_mark, "a second document; expected one a file");
            r->is_broken = true;
        } else if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT ||
                   type == YAML_MAPPING_START_EVENT || type == YAML_ALIAS_EVENT) {
            root = build(r, &event, 1);
        }
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            return root;
    }
    return NULL;
}

struct fg_yaml_node *fg_yaml_tree_parse(struct fg_config_report *report, struct fg_span text)
{
    struct reader r = {.report = report, .text = text};
    if (yaml_parser_initialize(&r.parser) == 0) {
        report->is_exhausted = true;
        return NULL;
    }
    yaml_parser_set_input_string(
        &r.parser, (const unsigned char *)(text.data == NULL ? "" : text.data), text.len);
    struct fg_yaml_node *root = read_documents(&r);
    yaml_parser_delete(&r.parser);
    if (r.is_broken)
        return NULL;
    if (root == NULL || root->kind == FG_YAML_NULL) {
        fg_config_report_add(report, 1, 1,
                             "the file is empty; expected at least listeners and routes");
        return NULL;
    }
    return root;
}

const struct fg_yaml_node *fg_yaml_find(const struct fg_yaml_node *map, const char *key)
{
    if (map == NULL || map->kind != FG_YAML_MAP)
        return NULL;
    struct fg_span wanted = fg_span_from_string(key);
    for (const struct fg_yaml_node *child = map->first; child != NULL; child = child->next) {
        if (child->kind != FG_YAML_NULL && fg_span_equal(child->key, wanted))
            return child;
    }
    return NULL;
}

const char *fg_yaml_kind_name(enum fg_yaml_kind kind)
{
    switch (kind) {
    case FG_YAML_NULL:
        return "nothing";
    case FG_YAML_SCALAR:
        return "a value";
    case FG_YAML_LIST:
        return "a list";
    case FG_YAML_MAP:
        return "a mapping";
    }
    return "nothing";
}
