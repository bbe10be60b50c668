/*
 * json_schema.c: from a schema's JSON tree to nodes; definitions are compiled once, on first use,
 * so that a schema may refer to itself.
 */
#include "inference/grammar/json_schema.h"

#include <jansson.h>
#include <stdlib.h>

#define PATH_BYTES_MAX ((size_t)160)

/* Tables that grow; the order of schema.capacities. */
enum { NODES, PROPERTIES, LITERALS, ALTERNATIVES };

struct reference {
    const json_t *schema;
    uint32_t node;
};

struct compiling {
    struct fg_json_schema *out;
    struct fg_error *error;
    const json_t *root;
    struct reference *references; /* schemas that were referred to by $ref */
    size_t reference_count;
    uint32_t any; /* node of "anything" once made */
    char path[PATH_BYTES_MAX];
    size_t depth;
};

#define DEPTH_MAX ((size_t)64)
#define REFERENCES_MAX ((size_t)256)

/* Every function below returns a node's index, or FG_JSON_NONE with the error set. */
static uint32_t compile(struct compiling *c, const json_t *schema);

static uint32_t fail(struct compiling *c, const char *what)
{
    (void)fg_error_set(c->error, "the JSON schema at \"#%s\": %s", c->path, what);
    return FG_JSON_NONE;
}

static uint32_t fail_keyword(struct compiling *c, const char *keyword, const char *what)
{
    (void)fg_error_set(c->error, "the JSON schema at \"#%s\": '%.60s' %s", c->path, keyword, what);
    return FG_JSON_NONE;
}

/* One more entry of a table of `size` bytes each; NULL when memory or the limit is used up. */
static void *grow(struct fg_json_schema *schema, int which, void **table, uint32_t *count,
                  size_t size, uint32_t limit)
{
    uint32_t *capacity = &schema->capacities[which];
    if (*count >= limit)
        return NULL;
    if (*count == *capacity) {
        uint32_t wanted = *capacity == 0 ? 16 : 2 * *capacity;
        void *grown = realloc(*table, wanted * size);
        if (grown == NULL)
            return NULL;
        *table = grown;
        *capacity = wanted;
    }
    return (char *)*table + size * (*count)++;
}

static uint32_t add_node(struct compiling *c, struct fg_json_node node)
{
    struct fg_json_schema *out = c->out;
    struct fg_json_node *place =
        grow(out, NODES, (void **)&out->nodes, &out->node_count, sizeof(*place), FG_JSON_NODES_MAX);
    if (place == NULL)
        return fail(c, "it is too large");
    *place = node;
    return out->node_count - 1;
}

static bool add_alternative(struct compiling *c, uint32_t node)
{
    struct fg_json_schema *out = c->out;
    uint32_t *place = grow(out, ALTERNATIVES, (void **)&out->alternatives, &out->alternative_count,
                           sizeof(*place), 4 * FG_JSON_NODES_MAX);
    if (place == NULL) {
        fail(c, "it is too large");
        return false;
    }
    *place = node;
    return true;
}

/* Keeps the text as long as the schema lives. */
static struct fg_span keep(struct compiling *c, const char *text, size_t len)
{
    json_t *string = json_stringn_nocheck(text, len);
    if (string == NULL || json_array_append_new(c->out->texts, string) != 0)
        return (struct fg_span){NULL, 0};
    return fg_span_make(json_string_value(string), len);
}

static int by_text(const void *a, const void *b)
{
    const struct fg_span *left = a, *right = b;
    size_t len = left->len < right->len ? left->len : right->len;
    int order = len == 0 ? 0 : memcmp(left->data, right->data, len);
    return order != 0 ? order : left->len < right->len ? -1 : left->len > right->len;
}

static int by_name(const void *a, const void *b)
{
    const struct fg_json_property *left = a, *right = b;
    return by_text(&left->name, &right->name);
}

/* A value as the answer will have it. */
static bool add_literal(struct compiling *c, const json_t *value)
{
    struct fg_json_schema *out = c->out;
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    struct fg_span kept = text == NULL ? (struct fg_span){NULL, 0} : keep(c, text, strlen(text));
    free(text);
    struct fg_span *place = kept.data == NULL
                                ? NULL
                                : grow(out, LITERALS, (void **)&out->literals, &out->literal_count,
                                       sizeof(*place), 16 * FG_JSON_LITERALS_MAX);
    if (place == NULL) {
        fail(c, "it is too large");
        return false;
    }
    *place = kept;
    return true;
}

/* The literals from `first` on, as one node. */
static uint32_t close_literals(struct compiling *c, uint32_t first)
{
    struct fg_json_schema *out = c->out;
    qsort(out->literals + first, out->literal_count - first, sizeof(*out->literals), by_text);
    return add_node(c, (struct fg_json_node){.kind = FG_JSON_LITERALS,
                                             .first = first,
                                             .count = out->literal_count - first});
}

static uint32_t compile_enum(struct compiling *c, const json_t *values)
{
    uint32_t first = c->out->literal_count;
    size_t count = json_array_size(values);
    if (count == 0 || count > FG_JSON_LITERALS_MAX)
        return fail_keyword(c, "enum", "must be an array of 1 to 1024 values");
    for (size_t i = 0; i < count; i++) {
        if (!add_literal(c, json_array_get(values, i)))
            return FG_JSON_NONE;
    }
    return close_literals(c, first);
}

static uint32_t compile_const(struct compiling *c, const json_t *value)
{
    uint32_t first = c->out->literal_count;
    return add_literal(c, value) ? close_literals(c, first) : FG_JSON_NONE;
}

static uint32_t compile_words(struct compiling *c, bool with_true_false, bool with_null)
{
    uint32_t first = c->out->literal_count;
    json_t *words[] = {with_true_false ? json_true() : NULL, with_true_false ? json_false() : NULL,
                       with_null ? json_null() : NULL};
    for (size_t i = 0; i < 3; i++) {
        if (words[i] != NULL && !add_literal(c, words[i]))
            return FG_JSON_NONE;
    }
    return close_literals(c, first);
}

/* Any JSON value: made once, of nodes that refer to it. */
static uint32_t compile_any(struct compiling *c)
{
    if (c->any != FG_JSON_NONE)
        return c->any;
    c->any = add_node(c, (struct fg_json_node){.kind = FG_JSON_ALTERNATIVES, .count = 5});
    if (c->any == FG_JSON_NONE)
        return FG_JSON_NONE;
    const struct fg_json_node parts[] = {
        {.kind = FG_JSON_OBJECT, .other = c->any},
        {.kind = FG_JSON_ARRAY, .other = c->any, .max = UINT32_MAX},
        {.kind = FG_JSON_STRING, .max = UINT32_MAX},
        {.kind = FG_JSON_NUMBER},
    };
    uint32_t nodes[5];
    for (size_t i = 0; i < 4; i++)
        nodes[i] = add_node(c, parts[i]);
    nodes[4] = compile_words(c, true, true);
    uint32_t first = c->out->alternative_count;
    for (size_t i = 0; i < 5; i++) {
        if (nodes[i] == FG_JSON_NONE || !add_alternative(c, nodes[i]))
            return FG_JSON_NONE;
    }
    c->out->nodes[c->any].first = first;
    return c->any;
}

/* A count that a keyword gives; `otherwise` where it is absent. False: not a count. */
static bool read_count(struct compiling *c, const json_t *schema, const char *keyword,
                       uint32_t otherwise, uint32_t *count)
{
    const json_t *value = json_object_get(schema, keyword);
    *count = otherwise;
    if (value == NULL)
        return true;
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || number > INT32_MAX) {
        fail_keyword(c, keyword, "must be a count");
        return false;
    }
    *count = (uint32_t)number;
    return true;
}

static uint32_t compile_below(struct compiling *c, const char *step, const json_t *schema)
{
    size_t before = strlen(c->path);
    size_t len = strlen(step);
    if (before + 1 + len < sizeof(c->path)) {
        c->path[before] = '/';
        memcpy(c->path + before + 1, step, len + 1);
    }
    uint32_t node = compile(c, schema);
    c->path[before] = '\0';
    return node;
}

static uint32_t compile_array(struct compiling *c, const json_t *schema)
{
    struct fg_json_node node = {.kind = FG_JSON_ARRAY};
    const json_t *items = json_object_get(schema, "items");
    if (!read_count(c, schema, "minItems", 0, &node.min) ||
        !read_count(c, schema, "maxItems", UINT32_MAX, &node.max))
        return FG_JSON_NONE;
    node.other = items == NULL ? compile_any(c) : compile_below(c, "items", items);
    if (node.other == FG_JSON_NONE)
        return FG_JSON_NONE;
    if (node.min > node.max)
        return fail_keyword(c, "minItems", "is more than 'maxItems'");
    return add_node(c, node);
}

static uint32_t compile_string(struct compiling *c, const json_t *schema)
{
    struct fg_json_node node = {.kind = FG_JSON_STRING};
    if (!read_count(c, schema, "minLength", 0, &node.min) ||
        !read_count(c, schema, "maxLength", UINT32_MAX, &node.max))
        return FG_JSON_NONE;
    if (node.min > node.max)
        return fail_keyword(c, "minLength", "is more than 'maxLength'");
    return add_node(c, node);
}

/* The name as it stands between the quotes of the answer. */
static struct fg_span spell_name(struct compiling *c, const char *name)
{
    json_t *string = json_string_nocheck(name);
    char *text = string == NULL ? NULL : json_dumps(string, JSON_ENCODE_ANY);
    json_decref(string);
    struct fg_span kept = {NULL, 0};
    if (text != NULL)
        kept = keep(c, text + 1, strlen(text) - 2);
    free(text);
    return kept;
}

/* The properties' own nodes come first: those of one object must stand together in the table. */
static bool compile_properties(struct compiling *c, const json_t *properties,
                               struct fg_json_property *found, size_t *count)
{
    const char *name;
    json_t *value;
    *count = 0;
    if (properties == NULL)
        return true;
    if (json_object_size(properties) > FG_JSON_PROPERTIES_MAX) {
        fail_keyword(c, "properties", "has more than 64 entries");
        return false;
    }
    json_object_foreach((json_t *)(uintptr_t)properties, name, value)
    {
        found[*count].name = spell_name(c, name);
        found[*count].node = compile_below(c, name, value);
        if (found[*count].node == FG_JSON_NONE)
            return false;
        if (found[*count].name.data == NULL) {
            fail(c, "it is too large");
            return false;
        }
        (*count)++;
    }
    qsort(found, *count, sizeof(*found), by_name);
    return true;
}

static bool read_required(struct compiling *c, const json_t *required,
                          const struct fg_json_property *found, size_t count, uint64_t *bits)
{
    for (size_t i = 0; i < json_array_size(required); i++) {
        const json_t *name = json_array_get(required, i);
        struct fg_span spelled =
            json_is_string(name) ? spell_name(c, json_string_value(name)) : FG_SPAN("");
        size_t at = 0;
        while (at < count && !fg_span_equal(found[at].name, spelled))
            at++;
        if (at == count) {
            fail_keyword(c, "required", "names what is not in 'properties'");
            return false;
        }
        *bits |= UINT64_C(1) << at;
    }
    return true;
}

static uint32_t compile_object(struct compiling *c, const json_t *schema)
{
    struct fg_json_schema *out = c->out;
    struct fg_json_property found[FG_JSON_PROPERTIES_MAX];
    struct fg_json_node node = {.kind = FG_JSON_OBJECT};
    size_t count;
    if (!compile_properties(c, json_object_get(schema, "properties"), found, &count) ||
        !read_required(c, json_object_get(schema, "required"), found, count, &node.required))
        return FG_JSON_NONE;
    const json_t *additional = json_object_get(schema, "additionalProperties");
    if (json_is_false(additional))
        node.other = FG_JSON_NONE;
    else if (additional == NULL || json_is_true(additional))
        /* Only what is described, where something is: that is what callers mean and models need. */
        node.other = count > 0 && additional == NULL ? FG_JSON_NONE : compile_any(c);
    else
        node.other = compile_below(c, "additionalProperties", additional);
    if (node.other == FG_JSON_NONE && json_is_object(additional))
        return FG_JSON_NONE;
    node.first = out->property_count;
    node.count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        struct fg_json_property *place =
            grow(out, PROPERTIES, (void **)&out->properties, &out->property_count, sizeof(*place),
                 8 * FG_JSON_NODES_MAX);
        if (place == NULL)
            return fail(c, "it is too large");
        *place = found[i];
    }
    return add_node(c, node);
}

static uint32_t compile_type(struct compiling *c, const char *type, const json_t *schema)
{
    if (strcmp(type, "object") == 0)
        return compile_object(c, schema);
    if (strcmp(type, "array") == 0)
        return compile_array(c, schema);
    if (strcmp(type, "string") == 0)
        return compile_string(c, schema);
    if (strcmp(type, "number") == 0)
        return add_node(c, (struct fg_json_node){.kind = FG_JSON_NUMBER});
    if (strcmp(type, "integer") == 0)
        return add_node(c, (struct fg_json_node){.kind = FG_JSON_INTEGER});
    if (strcmp(type, "boolean") == 0)
        return compile_words(c, true, false);
    if (strcmp(type, "null") == 0)
        return compile_words(c, false, true);
    return fail_keyword(c, "type",
                        "is none of object, array, string, number, integer, boolean, null");
}

/* What may be any of `nodes`. */
static uint32_t join_alternatives(struct compiling *c, const uint32_t *nodes, size_t count)
{
    uint32_t first = c->out->alternative_count;
    for (size_t i = 0; i < count; i++) {
        if (!add_alternative(c, nodes[i]))
            return FG_JSON_NONE;
    }
    return add_node(c, (struct fg_json_node){
                           .kind = FG_JSON_ALTERNATIVES, .first = first, .count = (uint32_t)count});
}

#define CHOICES_MAX ((size_t)128)

static uint32_t compile_types(struct compiling *c, const json_t *types, const json_t *schema)
{
    uint32_t nodes[CHOICES_MAX];
    size_t count = json_array_size(types);
    if (count == 0 || count > CHOICES_MAX)
        return fail_keyword(c, "type", "must be a name or an array of names");
    for (size_t i = 0; i < count; i++) {
        const json_t *type = json_array_get(types, i);
        nodes[i] = json_is_string(type) ? compile_type(c, json_string_value(type), schema)
                                        : fail_keyword(c, "type", "must be made of names");
        if (nodes[i] == FG_JSON_NONE)
            return FG_JSON_NONE;
    }
    return join_alternatives(c, nodes, count);
}

static uint32_t compile_choice(struct compiling *c, const char *keyword, const json_t *choices)
{
    uint32_t nodes[CHOICES_MAX];
    size_t count = json_array_size(choices);
    if (count == 0 || count > CHOICES_MAX)
        return fail_keyword(c, keyword, "must be an array of 1 to 128 schemas");
    for (size_t i = 0; i < count; i++) {
        nodes[i] = compile_below(c, keyword, json_array_get(choices, i));
        if (nodes[i] == FG_JSON_NONE)
            return FG_JSON_NONE;
    }
    return join_alternatives(c, nodes, count);
}

/* "#/$defs/name" by its steps; NULL when it leads nowhere. */
static const json_t *follow(const struct compiling *c, const char *reference)
{
    const json_t *at = c->root;
    if (reference[0] != '#')
        return NULL;
    struct fg_span rest = fg_span_from_string(reference + 1);
    if (rest.len > 0 && rest.data[0] != '/')
        return NULL;
    if (rest.len > 0)
        rest = fg_span_make(rest.data + 1, rest.len - 1);
    else
        rest.data = NULL;
    while (at != NULL && rest.data != NULL) {
        struct fg_span step = fg_span_split(&rest, '/');
        at = json_object_getn(at, step.data, step.len);
    }
    return at;
}

/* A place is reserved before the definition is compiled, so that it can refer to itself. */
static uint32_t compile_reference(struct compiling *c, const char *reference)
{
    const json_t *schema = follow(c, reference);
    if (schema == NULL)
        return fail_keyword(c, "$ref",
                            "leads nowhere; expected a path within the schema, as "
                            "\"#/$defs/name\"");
    for (size_t i = 0; i < c->reference_count; i++) {
        if (c->references[i].schema == schema)
            return c->references[i].node;
    }
    if (c->reference_count == REFERENCES_MAX)
        return fail(c, "it is too large");
    uint32_t place = add_node(c, (struct fg_json_node){.kind = FG_JSON_ALTERNATIVES, .count = 1});
    if (place == FG_JSON_NONE)
        return FG_JSON_NONE;
    c->references[c->reference_count++] = (struct reference){schema, place};
    uint32_t node = compile(c, schema);
    if (node == FG_JSON_NONE)
        return FG_JSON_NONE;
    if (node == place)
        return fail_keyword(c, "$ref", "refers to itself and nothing else");
    c->out->nodes[place].first = c->out->alternative_count;
    return add_alternative(c, node) ? place : FG_JSON_NONE;
}

/* Keywords that restrict values and cannot be kept to while writing. */
static const char *const unsupported[] = {
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "uniqueItems",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "not",
    "if",
    "prefixItems",
    "contains",
    "additionalItems",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
};

static bool has_unsupported(struct compiling *c, const json_t *schema)
{
    for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++) {
        const json_t *value = json_object_get(schema, unsupported[i]);
        if (value != NULL && !json_is_false(value)) {
            fail_keyword(c, unsupported[i], "is not supported");
            return true;
        }
    }
    return false;
}

static uint32_t compile_object_schema(struct compiling *c, const json_t *schema)
{
    const json_t *value;
    if (has_unsupported(c, schema))
        return FG_JSON_NONE;
    if ((value = json_object_get(schema, "$ref")) != NULL)
        return json_is_string(value) ? compile_reference(c, json_string_value(value))
                                     : fail_keyword(c, "$ref", "must be a string");
    if ((value = json_object_get(schema, "const")) != NULL)
        return compile_const(c, value);
    if ((value = json_object_get(schema, "enum")) != NULL)
        return compile_enum(c, value);
    if ((value = json_object_get(schema, "anyOf")) != NULL)
        return compile_choice(c, "anyOf", value);
    if ((value = json_object_get(schema, "oneOf")) != NULL)
        return compile_choice(c, "oneOf", value);
    if ((value = json_object_get(schema, "allOf")) != NULL)
        return json_array_size(value) == 1
                   ? compile_below(c, "allOf", json_array_get(value, 0))
                   : fail_keyword(c, "allOf", "of several is not supported");
    value = json_object_get(schema, "type");
    if (json_is_array(value))
        return compile_types(c, value, schema);
    if (json_is_string(value))
        return compile_type(c, json_string_value(value), schema);
    if (value != NULL)
        return fail_keyword(c, "type", "must be a name or an array of names");
    if (json_object_get(schema, "properties") != NULL)
        return compile_object(c, schema);
    return compile_any(c);
}

static uint32_t compile(struct compiling *c, const json_t *schema)
{
    if (c->depth >= DEPTH_MAX)
        return fail(c, "it is nested too deeply");
    c->depth++;
    uint32_t node = FG_JSON_NONE;
    if (json_is_true(schema))
        node = compile_any(c);
    else if (json_is_object(schema))
        node = compile_object_schema(c, schema);
    else
        fail(c, "a schema must be an object or true");
    c->depth--;
    return node;
}

static uint32_t compile_root(struct compiling *c)
{
    if (c->root != NULL)
        return compile(c, c->root);
    uint32_t any = compile_any(c);
    if (any == FG_JSON_NONE)
        return FG_JSON_NONE;
    return add_node(c, (struct fg_json_node){.kind = FG_JSON_OBJECT, .other = any});
}

/* The levels of one node by those of the others, UINT32_MAX: no value that ends is known yet. */
static uint32_t levels_of(const struct fg_json_schema *schema, const struct fg_json_node *node)
{
    uint32_t below = node->kind == FG_JSON_ALTERNATIVES ? UINT32_MAX : 0;
    for (uint32_t i = 0; node->kind == FG_JSON_ALTERNATIVES && i < node->count; i++) {
        uint32_t levels = schema->nodes[schema->alternatives[node->first + i]].levels;
        below = levels < below ? levels : below;
    }
    if (node->kind == FG_JSON_ALTERNATIVES)
        return below;
    for (uint32_t i = 0; node->kind == FG_JSON_OBJECT && i < node->count; i++) {
        uint32_t levels = schema->nodes[schema->properties[node->first + i].node].levels;
        if ((node->required >> i & 1) != 0 && levels > below)
            below = levels;
    }
    if (node->kind == FG_JSON_ARRAY && node->min > 0)
        below = schema->nodes[node->other].levels;
    return below == UINT32_MAX ? below : below + 1;
}

/* Until nothing changes: a schema may refer to itself. */
static void count_levels(struct fg_json_schema *schema)
{
    bool has_changed = true;
    for (uint32_t i = 0; i < schema->node_count; i++)
        schema->nodes[i].levels = UINT32_MAX;
    while (has_changed) {
        has_changed = false;
        for (uint32_t i = 0; i < schema->node_count; i++) {
            uint32_t levels = levels_of(schema, &schema->nodes[i]);
            has_changed |= levels != schema->nodes[i].levels;
            schema->nodes[i].levels = levels;
        }
    }
}

static uint32_t check_levels(struct compiling *c, uint32_t root)
{
    if (root == FG_JSON_NONE)
        return root;
    count_levels(c->out);
    return c->out->nodes[root].levels <= FG_JSON_DEPTH_MAX
               ? root
               : fail(c, "no value keeps to it that ends within 32 levels");
}

enum fg_status fg_json_schema_compile(struct fg_json_schema *schema, struct fg_span text,
                                      struct fg_error *error)
{
    struct reference references[REFERENCES_MAX];
    struct compiling c = {
        .out = schema, .error = error, .references = references, .any = FG_JSON_NONE};
    json_error_t where;
    *schema = (struct fg_json_schema){0};
    json_t *root = NULL;
    if (text.len > 0) {
        root = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
        if (root == NULL)
            return fg_error_set(error, "the JSON schema is not JSON: line %d, column %d: %s",
                                where.line, where.column, where.text);
    }
    c.root = root;
    schema->texts = json_array();
    schema->root =
        schema->texts == NULL ? fail(&c, "no memory") : check_levels(&c, compile_root(&c));
    json_decref(root);
    if (schema->root == FG_JSON_NONE) {
        fg_json_schema_fini(schema);
        return FG_ERR_CONFIG;
    }
    return FG_OK;
}

void fg_json_schema_fini(struct fg_json_schema *schema)
{
    free(schema->nodes);
    free(schema->properties);
    free(schema->literals);
    free(schema->alternatives);
    json_decref(schema->texts);
    *schema = (struct fg_json_schema){0};
}
