/*
 * json_schema.c: from a schema's JSON tree to nodes; definitions are compiled once, on first use,
 * so that a schema may refer to itself.
 * Never    works for long: a few bytes of `type` lists, references and merges within each other ask
 *          for any number of looks at the same schema, so each look is charged (spend).
 */
#include "inference/grammar/json_schema.h"
#include "inference/grammar/json_schema_merge.h"
#include "inference/grammar/json_spell.h"

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
    json_t *nothing;              /* {}: what true says */
    struct reference *references; /* schemas that were referred to by $ref */
    size_t reference_count;
    uint32_t any; /* node of "anything" once made */
    char path[PATH_BYTES_MAX];
    size_t depth;
    size_t merge_count;
    size_t work; /* looks so far, see spend() */
    bool has_failed;
};

#define DEPTH_MAX ((size_t)64)
#define MERGES_MAX ((size_t)256)
#define REFERENCES_MAX ((size_t)256)
/* Looks at a value, some 0.2 us each: several times what the largest useful schema needs. */
#define WORK_MAX ((size_t)32768)
#define NODE_LOOKS ((size_t)8)         /* for the keywords that it might have */
#define TEXT_BYTES_A_LOOK ((size_t)16) /* a text that is copied or compared */

/* Every function below returns a node's index, or FG_JSON_NONE with the error set. */
static uint32_t compile(struct compiling *c, const json_t *schema);

static uint32_t fail(struct compiling *c, const char *what)
{
    c->has_failed = true;
    (void)fg_error_set(c->error, "the JSON schema at \"#%s\": %s", c->path, what);
    return FG_JSON_NONE;
}

static uint32_t fail_keyword(struct compiling *c, const char *keyword, const char *what)
{
    c->has_failed = true;
    (void)fg_error_set(c->error, "the JSON schema at \"#%s\": '%.60s' %s", c->path, keyword, what);
    return FG_JSON_NONE;
}

/* Charge so many looks; false with the error set once there have been too many. */
static bool spend(struct compiling *c, size_t looks)
{
    c->work += looks < WORK_MAX ? looks : WORK_MAX;
    if (c->work <= WORK_MAX)
        return true;
    fail(c, "it is too large");
    return false;
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
    if (!spend(c, 1 + len / TEXT_BYTES_A_LOOK))
        return (struct fg_span){NULL, 0};
    json_t *string = json_stringn_nocheck(text, len);
    if (string == NULL || json_array_append_new(c->out->texts, string) != 0)
        return (struct fg_span){NULL, 0};
    return fg_span_make(json_string_value(string), len);
}

/* A schema that was made here lives as long as what is compiled of it; NULL with the error set. */
static json_t *keep_schema(struct compiling *c, json_t *made)
{
    if (json_array_append_new(c->out->texts, made) == 0)
        return made;
    fail(c, "it is too large");
    return NULL;
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
    char *text = fg_json_spell(value);
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

/* Whether what stands beside an enum allows a value; that is the type, and a string's length. */
static bool is_allowed(const json_t *schema, const json_t *value)
{
    const json_t *least = json_object_get(schema, "minLength");
    const json_t *most = json_object_get(schema, "maxLength");
    json_int_t length = 0;
    for (size_t i = 0; json_is_string(value) && i < json_string_length(value); i++)
        length += (json_string_value(value)[i] & 0xc0) != 0x80;
    return fg_json_schema_type_allows(json_object_get(schema, "type"), value) &&
           !(json_is_string(value) && json_is_integer(least) &&
             length < json_integer_value(least)) &&
           !(json_is_string(value) && json_is_integer(most) && length > json_integer_value(most));
}

/* Of a list of values those that the keywords beside it allow. */
static uint32_t compile_values(struct compiling *c, const char *keyword, const json_t *values,
                               const json_t *schema)
{
    static const char *const others[] = {"enum",  "anyOf",      "oneOf",    "allOf",
                                         "items", "properties", "required", "additionalProperties"};
    uint32_t first = c->out->literal_count;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (strcmp(others[i], keyword) != 0 && json_object_get(schema, others[i]) != NULL)
            return fail_keyword(c, others[i], "beside 'enum' or 'const' is not supported");
    }
    for (size_t i = 0; i < json_array_size(values); i++) {
        const json_t *value = json_array_get(values, i);
        if (!spend(c, 1 + json_string_length(value) / TEXT_BYTES_A_LOOK) ||
            (is_allowed(schema, value) && !add_literal(c, value)))
            return FG_JSON_NONE;
    }
    if (c->out->literal_count == first)
        return fail_keyword(c, keyword, "has no value that the rest of it allows");
    return close_literals(c, first);
}

static uint32_t compile_enum(struct compiling *c, const json_t *values, const json_t *schema)
{
    size_t count = json_array_size(values);
    if (count == 0 || count > FG_JSON_LITERALS_MAX)
        return fail_keyword(c, "enum", "must be an array of 1 to 1024 values");
    return compile_values(c, "enum", values, schema);
}

static uint32_t compile_const(struct compiling *c, json_t *value, const json_t *schema)
{
    json_t *values = json_pack("[O]", value);
    uint32_t node = compile_values(c, "const", values, schema);
    json_decref(values);
    return node;
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

/* All that is required is among the properties by now. */
static bool read_required(struct compiling *c, const json_t *required,
                          const struct fg_json_property *found, size_t count, uint64_t *bits)
{
    if (!spend(c, json_array_size(required) * (1 + count / 16)))
        return false;
    for (size_t i = 0; i < json_array_size(required); i++) {
        struct fg_span spelled = spell_name(c, json_string_value(json_array_get(required, i)));
        size_t at = 0;
        while (at < count && !fg_span_equal(found[at].name, spelled))
            at++;
        if (at == count) {
            fail(c, "it is too large");
            return false;
        }
        *bits |= UINT64_C(1) << at;
    }
    return true;
}

/* What names without a property may have; NULL: there may be none. */
static json_t *other_schema(const json_t *schema)
{
    json_t *additional = json_object_get(schema, "additionalProperties");
    if (additional == NULL)
        additional = json_object_get(schema, "unevaluatedProperties");
    return additional != NULL ? additional : json_true();
}

/* A new object: the properties, and what is required without being one of them. */
static json_t *all_properties(struct compiling *c, const json_t *schema)
{
    json_t *required = json_object_get(schema, "required");
    json_t *other = other_schema(schema);
    if (!spend(c,
               json_array_size(required) + json_object_size(json_object_get(schema, "properties"))))
        return NULL;
    json_t *all = json_object();
    json_object_update(all, json_object_get(schema, "properties"));
    if (required != NULL && !json_is_array(required))
        fail_keyword(c, "required", "must be an array of names");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (name == NULL)
            fail_keyword(c, "required", "must be an array of names");
        else if (json_object_get(all, name) != NULL)
            continue;
        else if (json_is_false(other))
            fail_keyword(c, "required", "names what may not be there");
        else
            json_object_set_nocheck(all, name, other);
    }
    if (c->has_failed) {
        json_decref(all);
        return NULL;
    }
    return keep_schema(c, all);
}

static uint32_t compile_object(struct compiling *c, const json_t *schema)
{
    struct fg_json_schema *out = c->out;
    struct fg_json_property found[FG_JSON_PROPERTIES_MAX];
    struct fg_json_node node = {.kind = FG_JSON_OBJECT};
    size_t count;
    const json_t *properties = all_properties(c, schema);
    const json_t *other = other_schema(schema);
    if (properties == NULL || !compile_properties(c, properties, found, &count) ||
        !read_required(c, json_object_get(schema, "required"), found, count, &node.required))
        return FG_JSON_NONE;
    /* Only what is described, where something is: that is what callers mean and models need. */
    bool is_closed =
        json_is_false(other) || (json_object_get(schema, "additionalProperties") == NULL &&
                                 json_object_size(json_object_get(schema, "properties")) > 0);
    node.other = is_closed ? FG_JSON_NONE : compile_below(c, "additionalProperties", other);
    if (node.other == FG_JSON_NONE && !is_closed)
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

/* A step of a JSON pointer (RFC 6901), with ~1 for / and ~0 for ~, below an object or an array. */
static const json_t *follow_step(const json_t *at, struct fg_span step)
{
    char name[PATH_BYTES_MAX];
    size_t len = 0;
    uint64_t index;
    if (json_is_array(at))
        return fg_span_parse_u64(step, &index) ? json_array_get(at, (size_t)index) : NULL;
    if (step.len > sizeof(name))
        return NULL;
    for (size_t i = 0; i < step.len; i++) {
        bool is_escape = step.data[i] == '~' && i + 1 < step.len && (step.data[i + 1] & ~1) == '0';
        name[len++] = (char)(!is_escape ? step.data[i] : step.data[++i] == '0' ? '~' : '/');
    }
    return json_object_getn(at, name, len);
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
    while (at != NULL && rest.data != NULL)
        at = follow_step(at, fg_span_split(&rest, '/'));
    return at;
}

static const json_t *follow_or_fail(struct compiling *c, const json_t *reference)
{
    if (!json_is_string(reference)) {
        fail_keyword(c, "$ref", "must be a string");
        return NULL;
    }
    const json_t *schema = follow(c, json_string_value(reference));
    if (schema == NULL)
        fail_keyword(c, "$ref",
                     "leads nowhere; expected a path within the schema, as \"#/$defs/name\"");
    return schema;
}

static const json_t *merge_beside(struct compiling *c, const json_t *schema, const char *keyword,
                                  const json_t *other, bool *is_none);

/* The schema with the one that it refers to taken in; NULL with the error set. */
static const json_t *resolve(struct compiling *c, const json_t *schema)
{
    const json_t *reference = json_object_get(schema, "$ref");
    bool is_none;
    if (reference == NULL)
        return schema;
    if (c->depth >= DEPTH_MAX) {
        fail(c, "it is nested too deeply");
        return NULL;
    }
    c->depth++;
    const json_t *target = follow_or_fail(c, reference);
    if (target != NULL) {
        target = merge_beside(c, schema, "$ref", target, &is_none);
        if (is_none)
            fail_keyword(c, "$ref", "leads to what no value beside it keeps to");
    }
    c->depth--;
    return target;
}

/* One alternative and what stands beside all of them as one; *is_none: no value keeps to both. */
static const json_t *merge_beside(struct compiling *c, const json_t *schema, const char *keyword,
                                  const json_t *other, bool *is_none)
{
    const char *conflict;
    *is_none = false;
    other = resolve(c, other);
    if (other == NULL)
        return NULL;
    if (json_is_true(other))
        other = c->nothing;
    if (!json_is_object(other)) {
        fail(c, "a schema must be an object or true");
        return NULL;
    }
    if (c->merge_count++ >= MERGES_MAX) {
        fail(c, "it is too large");
        return NULL;
    }
    if (!spend(c, fg_json_schema_merge_cost(schema, other, WORK_MAX)))
        return NULL;
    json_t *merged = fg_json_schema_merge(schema, keyword, other, &conflict);
    *is_none = merged == NULL && conflict == NULL;
    if (merged == NULL && conflict != NULL)
        fail_keyword(c, conflict, "on both sides of a choice or reference is not supported");
    return merged == NULL ? NULL : keep_schema(c, merged);
}

static uint32_t compile_choice(struct compiling *c, const char *keyword, const json_t *choices,
                               const json_t *schema)
{
    uint32_t nodes[CHOICES_MAX];
    size_t count = json_array_size(choices), made = 0;
    bool has_others = fg_json_schema_restricts(schema, keyword);
    if (count == 0 || count > CHOICES_MAX)
        return fail_keyword(c, keyword, "must be an array of 1 to 128 schemas");
    for (size_t i = 0; i < count; i++) {
        const json_t *choice = json_array_get(choices, i);
        bool is_none = false;
        if (has_others)
            choice = merge_beside(c, schema, keyword, choice, &is_none);
        if (is_none)
            continue;
        nodes[made] = choice == NULL ? FG_JSON_NONE : compile_below(c, keyword, choice);
        if (nodes[made++] == FG_JSON_NONE)
            return FG_JSON_NONE;
    }
    if (made == 0)
        return fail_keyword(c, keyword, "has no schema that goes with what stands beside it");
    return join_alternatives(c, nodes, made);
}

/* All of several: one after the other is taken in. */
static uint32_t compile_all(struct compiling *c, const json_t *parts, const json_t *schema)
{
    size_t count = json_array_size(parts);
    if (count == 0 || count > CHOICES_MAX)
        return fail_keyword(c, "allOf", "must be an array of 1 to 128 schemas");
    if (count == 1 && !fg_json_schema_restricts(schema, "allOf"))
        return compile_below(c, "allOf", json_array_get(parts, 0));
    for (size_t i = 0; i < count; i++) {
        bool is_none;
        schema = merge_beside(c, schema, i == 0 ? "allOf" : "", json_array_get(parts, i), &is_none);
        if (is_none)
            return fail_keyword(c, "allOf", "has schemas that no value keeps to");
        if (schema == NULL)
            return FG_JSON_NONE;
    }
    return compile(c, schema);
}

/* A place is reserved before the definition is compiled, so that it can refer to itself. */
static uint32_t compile_reference(struct compiling *c, const json_t *reference)
{
    const json_t *schema = follow_or_fail(c, reference);
    if (schema == NULL)
        return FG_JSON_NONE;
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
static const struct {
    const char *keyword;
    bool is_harmless_when_false;
} unsupported[] = {
    {"pattern", false},
    {"minimum", false},
    {"maximum", false},
    {"exclusiveMinimum", true},
    {"exclusiveMaximum", true},
    {"multipleOf", false},
    {"uniqueItems", true},
    {"patternProperties", false},
    {"propertyNames", false},
    {"minProperties", false},
    {"maxProperties", false},
    {"dependentRequired", false},
    {"dependentSchemas", false},
    {"dependencies", false},
    {"not", true},
    {"if", false},
    {"prefixItems", false},
    {"contains", false},
    {"additionalItems", true},
    {"unevaluatedItems", false},
    {"$dynamicRef", false},
    {"$recursiveRef", false},
};

static bool has_unsupported(struct compiling *c, const json_t *schema)
{
    const json_t *unevaluated = json_object_get(schema, "unevaluatedProperties");
    for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++) {
        const json_t *value = json_object_get(schema, unsupported[i].keyword);
        if (value != NULL && !(unsupported[i].is_harmless_when_false && json_is_false(value))) {
            fail_keyword(c, unsupported[i].keyword, "is not supported");
            return true;
        }
    }
    if (unevaluated != NULL && !json_is_boolean(unevaluated))
        fail_keyword(c, "unevaluatedProperties", "must be true or false");
    return unevaluated != NULL && !json_is_boolean(unevaluated);
}

/* The kind of value that a schema without a type speaks of. */
static uint32_t compile_untyped(struct compiling *c, const json_t *schema)
{
    static const struct {
        const char *keyword, *type;
    } signs[] = {
        {"properties", "object"}, {"required", "object"},  {"additionalProperties", "object"},
        {"items", "array"},       {"minItems", "array"},   {"maxItems", "array"},
        {"minLength", "string"},  {"maxLength", "string"}, {"unevaluatedProperties", "object"},
    };
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        if (json_object_get(schema, signs[i].keyword) != NULL)
            return compile_type(c, signs[i].type, schema);
    }
    return compile_any(c);
}

static uint32_t compile_object_schema(struct compiling *c, const json_t *schema)
{
    json_t *value;
    if (has_unsupported(c, schema))
        return FG_JSON_NONE;
    if ((value = json_object_get(schema, "$ref")) != NULL) {
        if (!fg_json_schema_restricts(schema, "$ref"))
            return compile_reference(c, value);
        schema = resolve(c, schema);
        return schema == NULL ? FG_JSON_NONE : compile(c, schema);
    }
    if ((value = json_object_get(schema, "const")) != NULL)
        return compile_const(c, value, schema);
    if ((value = json_object_get(schema, "enum")) != NULL)
        return compile_enum(c, value, schema);
    if ((value = json_object_get(schema, "allOf")) != NULL)
        return compile_all(c, value, schema);
    if ((value = json_object_get(schema, "anyOf")) != NULL)
        return compile_choice(c, "anyOf", value, schema);
    if ((value = json_object_get(schema, "oneOf")) != NULL)
        return compile_choice(c, "oneOf", value, schema);
    value = json_object_get(schema, "type");
    if (json_is_array(value))
        return compile_types(c, value, schema);
    if (json_is_string(value))
        return compile_type(c, json_string_value(value), schema);
    if (value != NULL)
        return fail_keyword(c, "type", "must be a name or an array of names");
    return compile_untyped(c, schema);
}

static uint32_t compile(struct compiling *c, const json_t *schema)
{
    if (c->depth >= DEPTH_MAX)
        return fail(c, "it is nested too deeply");
    if (!spend(c, NODE_LOOKS))
        return FG_JSON_NONE;
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
    return below >= FG_JSON_DEPTH_MAX ? UINT32_MAX : below + 1;
}

/* Until nothing changes: a schema may refer to itself. Backwards, as places come before what they
 * refer to. */
static void count_levels(struct fg_json_schema *schema)
{
    bool has_changed = true;
    for (uint32_t i = 0; i < schema->node_count; i++)
        schema->nodes[i].levels = UINT32_MAX;
    while (has_changed) {
        has_changed = false;
        for (uint32_t i = schema->node_count; i > 0; i--) {
            struct fg_json_node *node = &schema->nodes[i - 1];
            uint32_t levels = levels_of(schema, node);
            has_changed |= levels != node->levels;
            node->levels = levels;
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
    c.nothing = json_object();
    if (text.len > 0) {
        root = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
        if (root == NULL) {
            json_decref(c.nothing);
            return fg_error_set(error, "the JSON schema is not JSON: line %d, column %d: %s",
                                where.line, where.column, where.text);
        }
    }
    c.root = root;
    schema->texts = json_array();
    schema->root =
        schema->texts == NULL ? fail(&c, "no memory") : check_levels(&c, compile_root(&c));
    json_decref(root);
    json_decref(c.nothing);
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
