/*
 * json_schema.c: the tables as a JSON Schema (draft 2020-12), for editors.
 * Every scalar may also be a reference to the environment, so each type allows that beside its own
 * form; what depends on several keys at once is left to `floodgate check`.
 */
#include "config/config.h"
#include "config/schema.h"
#include "config/values.h"

#include <stdio.h>

#define ENVIRONMENT_PATTERN "\\$\\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\\}"

static json_t *table_to_schema(const struct fg_table *table);

static json_t *reference(const char *name)
{
    return json_pack("{s:s+}", "$ref", "#/$defs/", name);
}

static json_t *pattern(const char *form, const char *doc)
{
    char text[256];
    snprintf(text, sizeof(text), "^(%s)$|" ENVIRONMENT_PATTERN, form);
    return json_pack("{s:s, s:s, s:s}", "type", "string", "pattern", text, "description", doc);
}

static json_t *definitions(void)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o}", "environment",
        json_pack("{s:s, s:s, s:s}", "type", "string", "pattern", ENVIRONMENT_PATTERN,
                  "description", "${NAME} or ${NAME:-default}"),
        "duration",
        pattern("0|[0-9]+(ns|us|ms|s|m|h|d)", "A duration such as 250ms, 5s, 2m, 1h or 1d."),
        "size", pattern("[0-9]+(B|KiB|MiB|GiB|TiB)?", "A size such as 64KiB, 10MiB or 1GiB."),
        "rate", pattern("[0-9]+/[0-9]*(ns|us|ms|s|m|h|d)", "A rate such as 10/s, 600/m or 5/10s."),
        "percentage", pattern("[0-9]+(\\.[0-9])?%", "A percentage such as 85% or 12.5%."), "band",
        pattern("[0-9]+(\\.[0-9])?%/[0-9]+(\\.[0-9])?%",
                "Two percentages such as 85%/75%: taken from the first on, given up below the "
                "second."));
}

static json_t *choices_to_schema(const struct fg_choice *choices)
{
    json_t *words = json_array();
    for (; choices->word != NULL; choices++)
        json_array_append_new(words, json_string(choices->word));
    return json_pack("{s:o}", "enum", words);
}

static json_t *any_of(json_t *one, json_t *other)
{
    return json_pack("{s:[o, o]}", "anyOf", one, other);
}

/* tls_min: 1.2 is a number to an editor, a word to us. */
static json_t *words_to_schema(const struct fg_key *key)
{
    json_t *schema = choices_to_schema(key->choices);
    json_t *words = json_object_get(schema, "enum");
    size_t count = json_array_size(words);
    for (size_t i = 0; i < count; i++) {
        const char *word = json_string_value(json_array_get(words, i));
        json_t *number = json_loads(word, JSON_DECODE_ANY, NULL);
        if (json_is_number(number))
            json_array_append(words, number);
        json_decref(number);
    }
    return any_of(schema, reference("environment"));
}

static json_t *count_to_schema(const struct fg_key *key)
{
    json_t *schema = json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum",
                               (json_int_t)key->min, "maximum", (json_int_t)key->max);
    return any_of(schema, reference("environment"));
}

static json_t *list_to_schema(json_t *item, const struct fg_key *key)
{
    json_t *list = json_pack("{s:s, s:o}", "type", "array", "items", item);
    if (key->min > 0)
        json_object_set_new(list, "minItems", json_integer((json_int_t)key->min));
    if (key->max > 0)
        json_object_set_new(list, "maxItems", json_integer((json_int_t)key->max));
    return list;
}

/* A list of words, or one word in its place. */
static json_t *word_list_to_schema(const struct fg_key *key)
{
    json_t *item = key->type == FG_KEY_BITS ? choices_to_schema(key->choices)
                                            : json_pack("{s:s}", "type", "string");
    json_t *alone = json_deep_copy(item);
    return any_of(list_to_schema(item, key), alone);
}

/* The mapping, or the plain value that stands for one of its keys. */
static json_t *member_to_schema(const struct fg_table *table);

static json_t *map_to_schema(const struct fg_key *key)
{
    json_t *names = json_pack("{s:s}", "pattern", "^[A-Za-z0-9._~-]{1,64}$");
    return json_pack("{s:s, s:o, s:o, s:I}", "type", "object", "propertyNames", names,
                     "additionalProperties", member_to_schema(key->table), "maxProperties",
                     (json_int_t)key->max);
}

static const struct fg_key *shorthand_of(const struct fg_table *table)
{
    const struct fg_key *key = table->shorthand == NULL ? NULL : table->keys;
    while (key != NULL && strcmp(key->name, table->shorthand) != 0)
        key++;
    return key;
}

static json_t *key_to_schema(const struct fg_key *key);

/* The mapping, true or false, or the plain value that stands for one of its keys. */
static json_t *switch_to_schema(const struct fg_table *table)
{
    json_t *schema = any_of(json_pack("{s:s}", "type", "boolean"), table_to_schema(table));
    const struct fg_key *key = shorthand_of(table);
    if (key != NULL)
        json_array_append_new(json_object_get(schema, "anyOf"), key_to_schema(key));
    return schema;
}

static json_t *type_to_schema(const struct fg_key *key)
{
    switch (key->type) {
    case FG_KEY_BOOL:
        return any_of(json_pack("{s:s}", "type", "boolean"), reference("environment"));
    case FG_KEY_U32:
    case FG_KEY_U64:
        return count_to_schema(key);
    case FG_KEY_DURATION:
        return reference("duration");
    case FG_KEY_SIZE:
        return any_of(reference("size"), json_pack("{s:s}", "type", "integer"));
    case FG_KEY_RATE:
    case FG_KEY_PER_MINUTE:
        return reference("rate");
    case FG_KEY_PERMILLE:
        return reference("percentage");
    case FG_KEY_BAND:
        return reference("band");
    case FG_KEY_ENUM:
    case FG_KEY_WORD:
        return words_to_schema(key);
    case FG_KEY_BITS:
    case FG_KEY_STRINGS:
        return word_list_to_schema(key);
    case FG_KEY_HEADERS:
    case FG_KEY_FIELDS:
    case FG_KEY_PARAMETERS:
        return json_pack("{s:s, s:{s:s}}", "type", "object", "additionalProperties", "type",
                         "string");
    case FG_KEY_OBJECT:
        return table_to_schema(key->table);
    case FG_KEY_SWITCH:
        return switch_to_schema(key->table);
    case FG_KEY_LIST:
        return list_to_schema(member_to_schema(key->table), key);
    case FG_KEY_MAP:
        return map_to_schema(key);
    default:
        return json_pack("{s:s}", "type", "string");
    }
}

static json_t *key_to_schema(const struct fg_key *key)
{
    json_t *schema = type_to_schema(key);
    bool is_number = key->type == FG_KEY_U32 || key->type == FG_KEY_U64;
    if (key->zero_word != NULL)
        schema = any_of(schema, json_pack("{s:[s]}", "enum", key->zero_word));
    if ((key->type == FG_KEY_DURATION && key->min == 0) || key->takes_zero)
        schema = any_of(schema, json_pack("{s:[i]}", "enum", 0));
    json_object_set_new(schema, "description", json_string(key->doc));
    if (key->initial != NULL) {
        json_t *initial = json_loads(key->initial, JSON_DECODE_ANY, NULL);
        bool is_word = initial == NULL || !(is_number || key->type == FG_KEY_BOOL);
        json_object_set_new(schema, "default", is_word ? json_string(key->initial) : initial);
        if (is_word)
            json_decref(initial);
    }
    return schema;
}

static json_t *member_to_schema(const struct fg_table *table)
{
    json_t *schema = table_to_schema(table);
    const struct fg_key *key = shorthand_of(table);
    return key == NULL ? schema : any_of(key_to_schema(key), schema);
}

static json_t *table_to_schema(const struct fg_table *table)
{
    json_t *properties = json_object();
    json_t *required = json_array();
    for (const struct fg_key *key = table->keys; key->name != NULL; key++) {
        json_object_set_new(properties, key->name, key_to_schema(key));
        if (key->is_required)
            json_array_append_new(required, json_string(key->name));
    }
    json_t *schema = json_pack("{s:s, s:s, s:b, s:o}", "type", "object", "description", table->doc,
                               "additionalProperties", 0, "properties", properties);
    if (json_array_size(required) > 0)
        json_object_set(schema, "required", required);
    json_decref(required);
    return schema;
}

json_t *fg_config_schema(void)
{
    json_t *schema =
        json_pack("{s:s, s:s, s:s}", "$schema", "https://json-schema.org/draft/2020-12/schema",
                  "$id", "floodgate.schema.json", "title", "floodgate configuration");
    json_t *body = table_to_schema(&fg_table_root);
    json_object_update(schema, body);
    json_decref(body);
    json_object_set_new(schema, "$defs", definitions());
    return schema;
}
