/*
 * to_json.c: the effective configuration, every default filled in, in the notation of the file.
 * Never    a secret: what a key marked as one holds is shown as set, and no more; contents of key
 *          files are not in the snapshot at all.
 */
#include "config/raw.h"
#include "config/schema.h"
#include "config/values.h"

static json_t *table_to_json(const struct fg_table *table, const void *from);

static const void *at(const void *from, uint32_t offset)
{
    return (const char *)from + offset;
}

static json_t *string_or_null(const char *text)
{
    return text == NULL ? json_null() : json_string(text);
}

static const char *choice_word(const struct fg_key *key, const void *place)
{
    int value = 0;
    memcpy(&value, place, sizeof(value));
    for (const struct fg_choice *choice = key->choices; choice->word != NULL; choice++) {
        if (choice->value == value)
            return choice->word;
    }
    return NULL;
}

static json_t *bits_to_json(const struct fg_key *key, uint32_t bits)
{
    json_t *list = json_array();
    for (const struct fg_choice *choice = key->choices; choice->word != NULL; choice++) {
        if ((bits & UINT32_C(1) << choice->value) != 0)
            json_array_append_new(list, json_string(choice->word));
    }
    return list;
}

static json_t *strings_to_json(const struct fg_key *key, const void *from)
{
    const char *const *words = *(const char *const *const *)at(from, key->offset);
    size_t count = *(const size_t *)at(from, key->count_offset);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(words[i]));
    return list;
}

static json_t *headers_to_json(const struct fg_key *key, const void *from)
{
    const struct fg_header_match *headers =
        *(const struct fg_header_match *const *)at(from, key->offset);
    size_t count = *(const size_t *)at(from, key->count_offset);
    json_t *object = json_object();
    for (size_t i = 0; i < count; i++)
        json_object_set_new(object, headers[i].name,
                            json_string(headers[i].value == NULL ? "*" : headers[i].value));
    return object;
}

static json_t *members_to_json(const struct fg_key *key, const void *from)
{
    const char *members = *(const char *const *)at(from, key->offset);
    size_t count = *(const size_t *)at(from, key->count_offset);
    const struct fg_table *table = key->table;
    json_t *all = key->type == FG_KEY_MAP ? json_object() : json_array();
    for (size_t i = 0; i < count; i++) {
        const char *member = members + i * table->bytes;
        json_t *one = table_to_json(table, member);
        if (key->type == FG_KEY_LIST)
            json_array_append_new(all, one);
        else
            json_object_set_new(all, *(const char *const *)at(member, table->name_offset), one);
    }
    return all;
}

/* A number in the file's notation; its zero word where it has one. */
static json_t *number_to_json(const struct fg_key *key, const void *place)
{
    bool is_small =
        key->type == FG_KEY_U32 || key->type == FG_KEY_PERMILLE || key->type == FG_KEY_PER_MINUTE;
    uint64_t number = is_small ? *(const uint32_t *)place : *(const uint64_t *)place;
    char text[FG_VALUE_TEXT_MAX];
    if (number == 0 && key->zero_word != NULL)
        return json_string(key->zero_word);
    switch (key->type) {
    case FG_KEY_DURATION:
        fg_value_format_duration(text, sizeof(text), number);
        break;
    case FG_KEY_SIZE:
        fg_value_format_size(text, sizeof(text), number);
        break;
    case FG_KEY_PERMILLE:
        fg_value_format_percentage(text, sizeof(text), number);
        break;
    case FG_KEY_PER_MINUTE:
        fg_value_format_rate(text, sizeof(text),
                             (struct fg_rate_conf){number, UINT64_C(60000000000)});
        break;
    default:
        return json_integer((json_int_t)number);
    }
    return json_string(text);
}

static json_t *rate_to_json(const struct fg_key *key, struct fg_rate_conf rate)
{
    char text[FG_VALUE_TEXT_MAX];
    if (rate.amount == 0 && rate.period_ns > 0 && key->zero_word != NULL)
        return json_string(key->zero_word);
    if (rate.period_ns == 0)
        return json_null();
    fg_value_format_rate(text, sizeof(text), rate);
    return json_string(text);
}

static json_t *band_to_json(const struct fg_key *key, struct fg_overload_band band)
{
    char text[FG_VALUE_TEXT_MAX];
    if (band.enter_permille == 0)
        return json_string(key->zero_word);
    fg_value_format_band(text, sizeof(text), band);
    return json_string(text);
}

static json_t *text_to_json(const struct fg_key *key, const char *text)
{
    return text != NULL && key->is_secret ? json_string("(removed)") : string_or_null(text);
}

static json_t *value_to_json(const struct fg_key *key, const void *from)
{
    const void *place = at(from, key->offset);
    switch (key->type) {
    case FG_KEY_BOOL:
        return json_boolean(*(const bool *)place);
    case FG_KEY_RATE:
        return rate_to_json(key, *(const struct fg_rate_conf *)place);
    case FG_KEY_BAND:
        return band_to_json(key, *(const struct fg_overload_band *)place);
    case FG_KEY_STRING:
    case FG_KEY_PATH:
    case FG_KEY_WORD:
        return text_to_json(key, *(const char *const *)place);
    case FG_KEY_ENUM:
        return string_or_null(choice_word(key, place));
    case FG_KEY_BITS:
        return bits_to_json(key, *(const uint32_t *)place);
    case FG_KEY_STRINGS:
        return strings_to_json(key, from);
    case FG_KEY_HEADERS:
    case FG_KEY_FIELDS:
    case FG_KEY_PARAMETERS:
        return headers_to_json(key, from);
    case FG_KEY_OBJECT:
        return table_to_json(key->table, place);
    case FG_KEY_SWITCH:
        if (!*(const bool *)at(from, key->count_offset))
            return json_false();
        return table_to_json(key->table, place);
    case FG_KEY_LIST:
    case FG_KEY_MAP:
        return members_to_json(key, from);
    default:
        return number_to_json(key, place);
    }
}

/* Empty lists and what was not said are left out: the result reads like a file. */
static bool says_something(const json_t *value)
{
    if (json_is_null(value))
        return false;
    if (json_is_array(value))
        return json_array_size(value) > 0;
    return !json_is_object(value) || json_object_size(value) > 0;
}

static json_t *table_to_json(const struct fg_table *table, const void *from)
{
    json_t *object = json_object();
    for (const struct fg_key *key = table->keys; key->name != NULL; key++) {
        json_t *value = value_to_json(key, from);
        if (says_something(value))
            json_object_set_new(object, key->name, value);
        else
            json_decref(value);
    }
    return object;
}

json_t *fg_config_to_json(const struct fg_config *config)
{
    const struct fg_snapshot *snapshot = (const struct fg_snapshot *)config;
    return table_to_json(&fg_table_root, &snapshot->raw);
}
