/*
 * json_schema_merge.c: keyword by keyword; annotations of the second win and say nothing.
 * Source   JSON Schema 2020-12 core, section 10: a schema holds when each of its keywords does.
 */
#include "inference/grammar/json_schema_merge.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Why two schemas have become none. */
enum outcome { MERGED, CONFLICT, NOTHING_LEFT };

static const char *const restricting[] = {
    "type",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
    "items",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "properties",
    "required",
    "additionalProperties",
    "unevaluatedProperties",
};
#define RESTRICTING_COUNT (sizeof(restricting) / sizeof(restricting[0]))

bool fg_json_schema_restricts(const json_t *schema, const char *keyword)
{
    for (size_t i = 0; i < RESTRICTING_COUNT; i++) {
        if (strcmp(restricting[i], keyword) != 0 && json_object_get(schema, restricting[i]) != NULL)
            return true;
    }
    return false;
}

static bool is_whole(const json_t *value)
{
    double number = json_number_value(value);
    return json_is_integer(value) || (json_is_real(value) && !(floor(number) < number));
}

static bool is_of_type(const char *type, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return strcmp(type, "object") == 0;
    case JSON_ARRAY:
        return strcmp(type, "array") == 0;
    case JSON_STRING:
        return strcmp(type, "string") == 0;
    case JSON_INTEGER:
    case JSON_REAL:
        return strcmp(type, "number") == 0 || (strcmp(type, "integer") == 0 && is_whole(value));
    case JSON_TRUE:
    case JSON_FALSE:
        return strcmp(type, "boolean") == 0;
    case JSON_NULL:
        return strcmp(type, "null") == 0;
    }
    return false;
}

bool fg_json_schema_type_allows(const json_t *type, const json_t *value)
{
    if (json_is_string(type))
        return is_of_type(json_string_value(type), value);
    for (size_t i = 0; i < json_array_size(type); i++) {
        const json_t *name = json_array_get(type, i);
        if (json_is_string(name) && is_of_type(json_string_value(name), value))
            return true;
    }
    return type == NULL;
}

/* A new array: the value itself if it is one, or with it alone. */
static json_t *as_array(json_t *value)
{
    return json_is_array(value) ? json_copy(value) : json_pack("[O]", value);
}

static bool has_name(const json_t *names, const char *name)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *one = json_string_value(json_array_get(names, i));
        if (one != NULL && strcmp(one, name) == 0)
            return true;
    }
    return false;
}

/* Types of both; an integer is a number. */
static enum outcome merge_types(json_t *into, json_t *a, json_t *b)
{
    json_t *first = as_array(a), *second = as_array(b), *both = json_array();
    static const char *const names[] = {"object",  "array",   "string", "number",
                                        "integer", "boolean", "null"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        bool is_integer = strcmp(names[i], "integer") == 0;
        bool in_first = has_name(first, names[i]) || (is_integer && has_name(first, "number"));
        bool in_second = has_name(second, names[i]) || (is_integer && has_name(second, "number"));
        if (in_first && in_second && !(is_integer && has_name(both, "number")))
            json_array_append_new(both, json_string(names[i]));
    }
    json_decref(first);
    json_decref(second);
    bool is_any = json_array_size(both) > 0;
    json_object_set_new(into, "type", both);
    return is_any ? MERGED : NOTHING_LEFT;
}

/* The values of `list` that are in `other`, too. */
static enum outcome merge_enums(json_t *into, const json_t *list, const json_t *other)
{
    json_t *both = json_array();
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *value = json_array_get(list, i);
        for (size_t k = 0; k < json_array_size(other); k++) {
            if (json_equal(value, json_array_get(other, k))) {
                json_array_append(both, value);
                break;
            }
        }
    }
    bool is_any = json_array_size(both) > 0;
    json_object_set_new(into, "enum", both);
    return is_any ? MERGED : NOTHING_LEFT;
}

/* Both of two schemas, as one that is still to be merged. */
static json_t *both_of(json_t *a, json_t *b)
{
    return json_pack("{s:[O,O]}", "allOf", a, b);
}

static enum outcome merge_properties(json_t *into, json_t *a, json_t *b)
{
    json_t *all = json_copy(a);
    const char *name;
    json_t *value;
    json_object_foreach(b, name, value)
    {
        json_t *mine = json_object_get(a, name);
        if (mine == NULL || json_equal(mine, value))
            json_object_set_nocheck(all, name, value);
        else
            json_object_set_new_nocheck(all, name, both_of(mine, value));
    }
    json_object_set_new(into, "properties", all);
    return MERGED;
}

static enum outcome merge_required(json_t *into, json_t *a, json_t *b)
{
    json_t *all = json_copy(a);
    json_array_extend(all, b);
    json_object_set_new(into, "required", all);
    return MERGED;
}

/* The larger of two lower bounds, the smaller of two upper ones. */
static enum outcome merge_bounds(json_t *into, const char *keyword, json_t *a, json_t *b)
{
    bool is_lower = strncmp(keyword, "min", 3) == 0;
    bool takes_b = (json_number_value(b) > json_number_value(a)) == is_lower;
    json_object_set(into, keyword, takes_b ? b : a);
    return json_is_integer(a) && json_is_integer(b) ? MERGED : CONFLICT;
}

/* `keyword` has a value in both that is not the same. */
static enum outcome merge_keyword(json_t *into, const char *keyword, json_t *a, json_t *b)
{
    if (strcmp(keyword, "type") == 0)
        return merge_types(into, a, b);
    if (strcmp(keyword, "enum") == 0)
        return merge_enums(into, a, b);
    if (strcmp(keyword, "const") == 0)
        return NOTHING_LEFT;
    if (strcmp(keyword, "properties") == 0)
        return merge_properties(into, a, b);
    if (strcmp(keyword, "required") == 0)
        return merge_required(into, a, b);
    if (strncmp(keyword, "min", 3) == 0 || strncmp(keyword, "max", 3) == 0)
        return merge_bounds(into, keyword, a, b);
    if (strcmp(keyword, "items") == 0 || strcmp(keyword, "additionalProperties") == 0) {
        json_object_set_new(into, keyword, both_of(a, b));
        return MERGED;
    }
    return CONFLICT;
}

/* Whether `closed` says something of a property that only `other` names. */
static bool speaks_of_others(const json_t *closed, const json_t *other)
{
    const json_t *additional = json_object_get(closed, "additionalProperties");
    const json_t *own = json_object_get(closed, "properties");
    const char *name;
    json_t *value;
    if (additional == NULL || json_is_true(additional))
        return false;
    json_object_foreach(json_object_get(other, "properties"), name, value)
    {
        if (json_object_get(own, name) == NULL)
            return true;
    }
    return false;
}

static bool is_restricting(const char *keyword)
{
    for (size_t i = 0; i < RESTRICTING_COUNT; i++) {
        if (strcmp(restricting[i], keyword) == 0)
            return true;
    }
    return false;
}

json_t *fg_json_schema_merge(const json_t *schema, const char *keyword, const json_t *other,
                             const char **conflict)
{
    json_t *merged = json_copy((json_t *)(uintptr_t)schema);
    const char *name;
    json_t *value;
    enum outcome outcome = MERGED;
    json_object_del(merged, keyword);
    *conflict = "additionalProperties";
    if (speaks_of_others(merged, other) || speaks_of_others(other, merged))
        outcome = CONFLICT;
    json_object_foreach((json_t *)(uintptr_t)other, name, value)
    {
        json_t *mine = json_object_get(merged, name);
        if (outcome != MERGED)
            break;
        *conflict = name;
        if (mine == NULL || json_equal(mine, value) || !is_restricting(name))
            json_object_set_nocheck(merged, name, value);
        else
            outcome = merge_keyword(merged, name, mine, value);
    }
    if (outcome == MERGED)
        return merged;
    if (outcome == NOTHING_LEFT)
        *conflict = NULL;
    json_decref(merged);
    return NULL;
}

/* Texts are copied or compared, so many bytes in about the time of a value. */
#define TEXT_BYTES_A_VALUE 16

/* A value and all within it; one that is shared counts as often as it is there, so that no more
 * than about `most` are looked at. */
static size_t count_values(const json_t *value, size_t most)
{
    size_t count = 1 + json_string_length(value) / TEXT_BYTES_A_VALUE;
    const char *name;
    json_t *member;
    for (size_t i = 0; i < json_array_size(value) && count <= most; i++)
        count += count_values(json_array_get(value, i), most - count);
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        if (count > most)
            break;
        count += strlen(name) / TEXT_BYTES_A_VALUE + count_values(member, most - count);
    }
    return count;
}

/* What a copy of the value looks at: what it holds itself, and not what is within that. */
static size_t count_members(const json_t *value)
{
    const char *name;
    json_t *member;
    size_t count = 1 + json_array_size(value);
    json_object_foreach((json_t *)(uintptr_t)value, name, member) count +=
        1 + strlen(name) / TEXT_BYTES_A_VALUE;
    return count;
}

size_t fg_json_schema_merge_cost(const json_t *schema, const json_t *other, size_t most)
{
    /* Comparing two values of an enum takes a tenth of what a value costs elsewhere. */
    size_t values = json_array_size(json_object_get(schema, "enum"));
    size_t cost = count_members(schema) + count_members(other) +
                  values * json_array_size(json_object_get(other, "enum")) / 10;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)other, name, value)
    {
        const json_t *mine = json_object_get(schema, name);
        if (cost > most)
            break;
        if (mine != NULL)
            cost += count_members(mine) + count_values(value, most - cost);
    }
    return cost;
}
