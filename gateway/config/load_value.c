/*
 * load_value.c: one scalar, or one list of words, into its place in the struct, by its key's type.
 */
#include "config/loader.h"

#include "config/nearest.h"
#include "config/values.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

/* What a scalar became, before it is stored. */
struct scalar {
    uint64_t number;
    struct fg_rate_conf rate;
    struct fg_overload_band band;
    bool truth;
    bool is_zero_word; /* whatever the range */
};

static enum fg_value_problem parse_scalar(const struct fg_key *key, struct fg_span text,
                                          struct scalar *out)
{
    bool is_nothing = key->takes_zero && fg_span_equal(text, FG_SPAN("0")); /* whatever the unit */
    if (is_nothing ||
        (key->zero_word != NULL && fg_span_equal(text, fg_span_from_string(key->zero_word)))) {
        *out = (struct scalar){.number = 0, .rate = {0, 1}, .is_zero_word = true};
        return FG_VALUE_OK;
    }
    switch (key->type) {
    case FG_KEY_BOOL:
        return fg_value_parse_bool(text, &out->truth);
    case FG_KEY_U32:
    case FG_KEY_U64:
        return fg_value_parse_count(text, &out->number);
    case FG_KEY_DURATION:
        return fg_value_parse_duration(text, &out->number);
    case FG_KEY_SIZE:
        return fg_value_parse_size(text, &out->number);
    case FG_KEY_PERMILLE:
        return fg_value_parse_percentage(text, &out->number);
    case FG_KEY_RATE:
    case FG_KEY_PER_MINUTE:
        return fg_value_parse_rate(text, &out->rate);
    case FG_KEY_BAND:
        return fg_value_parse_band(text, &out->band);
    default:
        return FG_VALUE_MALFORMED;
    }
}

/* The rate as a whole number a minute, rounded up: a limit of few is not turned into none. */
static uint64_t per_minute(struct fg_rate_conf rate)
{
    const unsigned __int128 minute_ns = UINT64_C(60000000000);
    unsigned __int128 count = (rate.amount * minute_ns + rate.period_ns - 1) / rate.period_ns;
    return count > UINT64_MAX ? UINT64_MAX : (uint64_t)count;
}

static bool is_in_range(const struct fg_key *key, const struct scalar *value)
{
    if (key->type == FG_KEY_BOOL || value->is_zero_word)
        return true;
    uint64_t number = value->number;
    if (number == 0 && key->takes_zero)
        return true;
    if (key->type == FG_KEY_BAND) {
        number = value->band.enter_permille;
        if (value->band.leave_permille < key->min || value->band.leave_permille > number)
            return false;
    }
    if (key->type == FG_KEY_RATE) {
        const uint64_t day_ns = UINT64_C(86400000000000);
        if (value->rate.period_ns > day_ns)
            return false;
        number = value->rate.amount;
    }
    if (key->type == FG_KEY_PER_MINUTE)
        number = per_minute(value->rate);
    return number >= key->min && number <= key->max;
}

static void store(const struct fg_key *key, const struct scalar *value, void *into)
{
    void *at = fg_load_at(into, key->offset);
    switch (key->type) {
    case FG_KEY_BOOL:
        *(bool *)at = value->truth;
        return;
    case FG_KEY_U32:
    case FG_KEY_PERMILLE:
        *(uint32_t *)at = (uint32_t)value->number;
        return;
    case FG_KEY_PER_MINUTE:
        *(uint32_t *)at = (uint32_t)per_minute(value->rate);
        return;
    case FG_KEY_RATE:
        *(struct fg_rate_conf *)at = value->rate;
        return;
    case FG_KEY_BAND:
        *(struct fg_overload_band *)at = value->band;
        return;
    default:
        *(uint64_t *)at = value->number;
        return;
    }
}

/* "a duration", and what one looks like; no example where the noun says it all. */
struct phrase {
    const char *noun;
    const char *example;
};

static struct phrase type_phrase(enum fg_key_type type)
{
    switch (type) {
    case FG_KEY_BOOL:
        return (struct phrase){"true or false", ""};
    case FG_KEY_U32:
    case FG_KEY_U64:
        return (struct phrase){"a whole number", ""};
    case FG_KEY_DURATION:
        return (struct phrase){"a duration", " such as 250ms, 5s, 2m, 1h or 1d"};
    case FG_KEY_SIZE:
        return (struct phrase){"a size", " such as 64KiB, 10MiB or 1GiB"};
    case FG_KEY_RATE:
    case FG_KEY_PER_MINUTE:
        return (struct phrase){"a rate", " such as 10/s, 600/m or 5/10s"};
    case FG_KEY_PERMILLE:
        return (struct phrase){"a percentage", " such as 85% or 12.5%"};
    case FG_KEY_BAND:
        return (struct phrase){"two percentages", " such as 85%/75%"};
    case FG_KEY_BITS:
    case FG_KEY_STRINGS:
        return (struct phrase){"a list", " such as [one, two]"};
    case FG_KEY_HEADERS:
    case FG_KEY_FIELDS:
    case FG_KEY_PARAMETERS:
        return (struct phrase){"a mapping of names to values", ""};
    default:
        return (struct phrase){"a text", ""};
    }
}

static void format_bound(const struct fg_key *key, char *out, size_t bytes, uint64_t value)
{
    switch (key->type) {
    case FG_KEY_DURATION:
        fg_value_format_duration(out, bytes, value);
        return;
    case FG_KEY_SIZE:
        fg_value_format_size(out, bytes, value);
        return;
    case FG_KEY_PERMILLE:
    case FG_KEY_BAND:
        fg_value_format_percentage(out, bytes, value);
        return;
    case FG_KEY_PER_MINUTE:
        snprintf(out, bytes, "%" PRIu64 "/m", value);
        return;
    default:
        snprintf(out, bytes, "%" PRIu64, value);
        return;
    }
}

void fg_load_describe(const struct fg_key *key, char *out, size_t bytes)
{
    char low[FG_VALUE_TEXT_MAX];
    char high[FG_VALUE_TEXT_MAX];
    format_bound(key, low, sizeof(low), key->min);
    format_bound(key, high, sizeof(high), key->max);
    const char *of_what = key->type == FG_KEY_RATE   ? " in up to 1d"
                          : key->type == FG_KEY_BAND ? " each, the second not above the first"
                                                     : "";
    if (key->takes_zero)
        snprintf(out, bytes, "%s to %s%s, 0 or %s", low, high, of_what, key->zero_word);
    else if (key->zero_word != NULL)
        snprintf(out, bytes, "%s to %s%s, or %s", low, high, of_what, key->zero_word);
    else
        snprintf(out, bytes, "%s to %s%s", low, high, of_what);
}

static void refuse(struct fg_loader *loader, const struct fg_key *key, struct fg_yaml_node *node,
                   const char *problem, const char *expected)
{
    node->is_refused = true;
    if (key->is_secret) {
        fg_config_report_add(loader->report, node->line, node->column,
                             "%s: the value %s; expected %s", key->name, problem, expected);
        return;
    }
    fg_config_report_add(loader->report, node->line, node->column, "%s: \"%.*s\" %s; expected %s",
                         key->name, FG_SPAN_ARGS(node->source), problem, expected);
}

static void load_number(struct fg_loader *loader, const struct fg_key *key,
                        struct fg_yaml_node *node, void *into)
{
    struct scalar value = {.rate = {0, 1}};
    struct phrase phrase = type_phrase(key->type);
    char range[3 * FG_VALUE_TEXT_MAX];
    char looks[3 * FG_VALUE_TEXT_MAX];
    char problem[FG_VALUE_TEXT_MAX];
    bool is_count = key->type == FG_KEY_U32 || key->type == FG_KEY_U64;
    fg_load_describe(key, range, sizeof(range));
    snprintf(looks, sizeof(looks), "%s%s%s%s", phrase.noun, phrase.example,
             key->zero_word != NULL ? ", or " : "", key->zero_word != NULL ? key->zero_word : "");
    if (key->type == FG_KEY_BOOL)
        snprintf(problem, sizeof(problem), "is neither of the two");
    else
        snprintf(problem, sizeof(problem), "is not %s", phrase.noun);
    switch (parse_scalar(key, node->text, &value)) {
    case FG_VALUE_OK:
        if (is_in_range(key, &value))
            store(key, &value, into);
        else
            refuse(loader, key, node, "is out of range", range);
        return;
    case FG_VALUE_TOO_LARGE:
        refuse(loader, key, node, "is out of range", range);
        return;
    case FG_VALUE_NO_UNIT:
        refuse(loader, key, node, "has no unit", looks);
        return;
    case FG_VALUE_UNKNOWN_UNIT:
        refuse(loader, key, node, "has an unknown unit", looks);
        return;
    case FG_VALUE_MALFORMED:
        refuse(loader, key, node, problem, is_count ? range : looks);
        return;
    }
}

static bool passes_check(struct fg_loader *loader, const struct fg_key *key,
                         struct fg_yaml_node *node)
{
    const char *problem = key->check == NULL ? NULL : key->check(node->text);
    if (problem == NULL)
        return true;
    node->is_refused = true;
    fg_config_report_add(loader->report, node->line, node->column, "%s: \"%.*s\" %s", key->name,
                         FG_SPAN_ARGS(node->source), problem);
    return false;
}

static void load_string(struct fg_loader *loader, const struct fg_key *key,
                        struct fg_yaml_node *node, void *into)
{
    if (!passes_check(loader, key, node))
        return;
    const char *value = key->type == FG_KEY_PATH ? fg_load_join_path(loader, node->text)
                                                 : fg_config_copy(loader->report, node->text).data;
    *(const char **)fg_load_at(into, key->offset) = value;
}

/* "a, b, c", cut with "..." where it would grow too long. */
static void list_words(char *out, size_t bytes, const char *const *words, size_t count)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        bool fits = used + strlen(words[i]) + sizeof(", , ...") <= bytes;
        int wrote =
            snprintf(out + used, bytes - used, "%s%s", i == 0 ? "" : ", ", fits ? words[i] : "...");
        if (!fits)
            return;
        used += (size_t)wrote;
    }
}

const char *fg_load_unknown_word(struct fg_loader *loader, unsigned line, unsigned column,
                                 const char *what, struct fg_span word, const char *const *words,
                                 size_t count)
{
    if (loader->report->kept >= FG_CONFIG_ERRORS_MAX) {
        fg_config_report_add(loader->report, line, column, "%s", what); /* counted alone */
        return NULL;
    }
    struct fg_nearest nearest = {0};
    for (size_t i = 0; i < count; i++)
        fg_nearest_offer(&nearest, word, words[i]);
    if (nearest.word != NULL) {
        fg_config_report_add(loader->report, line, column, "%s \"%.*s\"; did you mean \"%s\"?",
                             what, FG_SPAN_ARGS(word), nearest.word);
        return nearest.word;
    }
    if (count == 0) {
        fg_config_report_add(loader->report, line, column,
                             "%s \"%.*s\"; expected a defined one, and none is defined", what,
                             FG_SPAN_ARGS(word));
        return NULL;
    }
    char list[384];
    list_words(list, sizeof(list), words, count);
    fg_config_report_add(loader->report, line, column, "%s \"%.*s\"; expected %s%s", what,
                         FG_SPAN_ARGS(word), count > 1 ? "one of " : "", list);
    return NULL;
}

/* NULL after reporting it when the word is none of the choices. */
static const struct fg_choice *find_choice(struct fg_loader *loader, const struct fg_key *key,
                                           struct fg_yaml_node *node)
{
    const char *words[32];
    size_t count = 0;
    for (const struct fg_choice *choice = key->choices; choice->word != NULL; choice++) {
        if (fg_span_equal(node->text, fg_span_from_string(choice->word)))
            return choice;
        assert(count < sizeof(words) / sizeof(words[0]));
        words[count++] = choice->word;
    }
    node->is_refused = true;
    char what[FG_VALUE_TEXT_MAX];
    snprintf(what, sizeof(what), "%s: unknown value", key->name);
    fg_load_unknown_word(loader, node->line, node->column, what, node->source, words, count);
    return NULL;
}

static void load_choice(struct fg_loader *loader, const struct fg_key *key,
                        struct fg_yaml_node *node, void *into)
{
    const struct fg_choice *choice = find_choice(loader, key, node);
    if (choice == NULL)
        return;
    if (key->type == FG_KEY_WORD)
        *(const char **)fg_load_at(into, key->offset) = choice->word;
    else
        memcpy(fg_load_at(into, key->offset), &choice->value, sizeof(choice->value));
}

/* The words of a list, or the one word in its place; refused members are left out. */
static size_t count_words(struct fg_loader *loader, const struct fg_key *key,
                          struct fg_yaml_node *node)
{
    if (node->kind == FG_YAML_SCALAR)
        return 1;
    if (key->max > 0 && node->count > key->max) {
        fg_config_report_add(loader->report, node->line, node->column,
                             "%s: %zu entries; expected at most %" PRIu64, key->name, node->count,
                             key->max);
        return 0;
    }
    return node->count;
}

static bool is_word(struct fg_loader *loader, const struct fg_key *key, struct fg_yaml_node *item)
{
    if (item->is_refused)
        return false;
    if (item->kind == FG_YAML_SCALAR)
        return true;
    fg_config_report_add(loader->report, item->line, item->column,
                         "%s: %s in the list; expected a "
                         "word",
                         key->name, fg_yaml_kind_name(item->kind));
    return false;
}

static void load_words(struct fg_loader *loader, const struct fg_key *key,
                       struct fg_yaml_node *node, void *into)
{
    size_t most = count_words(loader, key, node);
    const char **words = NULL;
    if (key->type == FG_KEY_STRINGS && most > 0) {
        words = fg_config_alloc(loader->report, most * sizeof(const char *));
        if (words == NULL)
            return;
    }
    uint32_t bits = 0;
    size_t count = 0;
    struct fg_yaml_node *item = node->kind == FG_YAML_SCALAR ? node : node->first;
    for (size_t i = 0; i < most; i++, item = item->next) {
        if (!is_word(loader, key, item))
            continue;
        if (key->type == FG_KEY_STRINGS) {
            if (passes_check(loader, key, item))
                words[count++] = item->text.data;
            continue;
        }
        const struct fg_choice *choice = find_choice(loader, key, item);
        if (choice != NULL)
            bits |= UINT32_C(1) << choice->value;
    }
    if (key->type == FG_KEY_BITS) {
        *(uint32_t *)fg_load_at(into, key->offset) = bits;
        return;
    }
    *(const char ***)fg_load_at(into, key->offset) = words;
    *(size_t *)fg_load_at(into, key->count_offset) = count;
}

static bool load_header(struct fg_loader *loader, const struct fg_key *key,
                        struct fg_yaml_node *child, struct fg_header_match *out)
{
    bool is_parameter = key->type == FG_KEY_PARAMETERS;
    const char *problem = is_parameter ? fg_text_check_parameter_name(child->key)
                                       : fg_text_check_field_name(child->key);
    if (problem != NULL) {
        fg_config_report_add(loader->report, child->key_line, child->key_column, "%s: \"%.*s\" %s",
                             key->name, FG_SPAN_ARGS(child->key), problem);
        return false;
    }
    if (child->is_refused)
        return false;
    fg_text_check_fn check = key->check != NULL ? key->check : fg_text_check_field_value;
    problem = child->kind == FG_YAML_SCALAR ? check(child->text) : NULL;
    if (child->kind != FG_YAML_SCALAR || problem != NULL) {
        fg_config_report_add(loader->report, child->line, child->column, "%s.%.*s: %s%s", key->name,
                             FG_SPAN_ARGS(child->key), problem != NULL ? "the value " : "",
                             problem != NULL ? problem
                                             : "not a text; expected the field's value, or \"*\"");
        return false;
    }
    char *name = fg_config_alloc(loader->report, child->key.len + 1);
    if (name == NULL)
        return false;
    for (size_t i = 0; i < child->key.len; i++) {
        char c = child->key.data[i];
        name[i] = c >= 'A' && c <= 'Z' && !is_parameter ? (char)(c - 'A' + 'a') : c;
    }
    bool is_any = key->type != FG_KEY_FIELDS && fg_span_equal(child->text, FG_SPAN("*"));
    out->name = name;
    out->value = is_any ? NULL : child->text.data;
    return true;
}

static void load_headers(struct fg_loader *loader, const struct fg_key *key,
                         struct fg_yaml_node *node, void *into)
{
    size_t most = count_words(loader, key, node);
    if (most == 0)
        return;
    struct fg_header_match *headers =
        fg_config_alloc(loader->report, most * sizeof(struct fg_header_match));
    if (headers == NULL)
        return;
    size_t count = 0;
    struct fg_yaml_node *child = node->first;
    for (size_t i = 0; i < most; i++, child = child->next) {
        if (load_header(loader, key, child, &headers[count]))
            count++;
    }
    *(struct fg_header_match **)fg_load_at(into, key->offset) = headers;
    *(size_t *)fg_load_at(into, key->count_offset) = count;
}

static bool takes_kind(enum fg_key_type type, enum fg_yaml_kind kind)
{
    if (type == FG_KEY_HEADERS || type == FG_KEY_FIELDS || type == FG_KEY_PARAMETERS)
        return kind == FG_YAML_MAP;
    if (type == FG_KEY_BITS || type == FG_KEY_STRINGS)
        return kind == FG_YAML_SCALAR || kind == FG_YAML_LIST;
    return kind == FG_YAML_SCALAR;
}

void fg_load_value(struct fg_loader *loader, const struct fg_key *key, struct fg_yaml_node *node,
                   void *into)
{
    if (node->is_refused)
        return;
    if (!takes_kind(key->type, node->kind)) {
        node->is_refused = true;
        struct phrase phrase = type_phrase(key->type);
        fg_config_report_add(loader->report, node->line, node->column, "%s: %s; expected %s%s",
                             key->name, fg_yaml_kind_name(node->kind), phrase.noun, phrase.example);
        return;
    }
    switch (key->type) {
    case FG_KEY_STRING:
    case FG_KEY_PATH:
        load_string(loader, key, node, into);
        return;
    case FG_KEY_ENUM:
    case FG_KEY_WORD:
        load_choice(loader, key, node, into);
        return;
    case FG_KEY_BITS:
    case FG_KEY_STRINGS:
        load_words(loader, key, node, into);
        return;
    case FG_KEY_HEADERS:
    case FG_KEY_FIELDS:
    case FG_KEY_PARAMETERS:
        load_headers(loader, key, node, into);
        return;
    default:
        load_number(loader, key, node, into);
        return;
    }
}

void fg_load_initial(struct fg_loader *loader, const struct fg_key *key, void *into)
{
    if (key->initial == NULL)
        return;
    struct fg_span text = fg_span_from_string(key->initial);
    struct fg_yaml_node node = {.kind = FG_YAML_SCALAR, .text = text, .source = text};
    size_t errors_before = loader->report->count;
    fg_load_value(loader, key, &node, into);
    assert(loader->report->count == errors_before);
    (void)errors_before;
}
