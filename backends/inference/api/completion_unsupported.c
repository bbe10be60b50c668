/*
 * completion_unsupported.c: parameters that would change the meaning of an answer and are not done.
 * Job      a table of names, each with the values that ask for nothing; any other value is refused
 * by name, so that nobody takes an answer for what it is not. A name that is in no table (user,
 *          metadata, store, service_tier, ...) changes nothing and is passed over.
 */
#include "completion_request_internal.h"

/* The values of a parameter that ask for nothing; null always does. */
enum harmless {
    HARMLESS_NULL,
    HARMLESS_EMPTY, /* [], {} or "" */
    HARMLESS_FALSE,
    HARMLESS_TRUE,
    HARMLESS_ZERO,
    HARMLESS_ONE,
    HARMLESS_NO_TOOL,   /* "none" or "auto": with no tools, both are no tool */
    HARMLESS_TEXT_LIST, /* ["text"] */
};

static const struct rule {
    const char *name;
    enum harmless harmless;
} rules[] = {
    {"functions", HARMLESS_EMPTY},
    {"function_call", HARMLESS_NO_TOOL},
    {"prompt_logprobs", HARMLESS_NULL},
    {"length_penalty", HARMLESS_ONE},
    {"min_tokens", HARMLESS_ZERO},
    {"best_of", HARMLESS_ONE},
    {"use_beam_search", HARMLESS_FALSE},
    {"echo", HARMLESS_FALSE},
    {"suffix", HARMLESS_EMPTY},
    {"modalities", HARMLESS_TEXT_LIST},
    {"audio", HARMLESS_NULL},
    {"web_search_options", HARMLESS_NULL},
    {"stop_token_ids", HARMLESS_EMPTY},
    {"bad_words", HARMLESS_EMPTY},
    {"allowed_token_ids", HARMLESS_NULL},
    {"include_stop_str_in_output", HARMLESS_FALSE},
    {"skip_special_tokens", HARMLESS_TRUE},
    {"guided_regex", HARMLESS_NULL},
    {"guided_choice", HARMLESS_NULL},
    {"guided_grammar", HARMLESS_NULL},
    {"structured_outputs", HARMLESS_NULL},
    {"chat_template", HARMLESS_NULL},
    {"documents", HARMLESS_EMPTY},
    {"continue_final_message", HARMLESS_FALSE},
    {"add_generation_prompt", HARMLESS_TRUE},
    {"prompt_embeds", HARMLESS_NULL},
};

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

static bool is_empty(const json_t *value)
{
    return (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0) || is_text(value, "");
}

static bool is_number(const json_t *value, int number)
{
    /* Written without ==, which a real number makes the compilers warn about. */
    double is = json_number_value(value);
    return json_is_number(value) && is >= number && is <= number;
}

static bool is_harmless(const json_t *value, enum harmless harmless)
{
    switch (harmless) {
    case HARMLESS_NULL:
        return false;
    case HARMLESS_EMPTY:
        return is_empty(value);
    case HARMLESS_FALSE:
        return json_is_false(value);
    case HARMLESS_TRUE:
        return json_is_true(value);
    case HARMLESS_ZERO:
        return is_number(value, 0);
    case HARMLESS_ONE:
        return is_number(value, 1);
    case HARMLESS_NO_TOOL:
        return is_text(value, "none") || is_text(value, "auto");
    case HARMLESS_TEXT_LIST:
        return json_is_array(value) && json_array_size(value) == 1 &&
               is_text(json_array_get(value, 0), "text");
    }
    return false;
}

bool fg_completion_check_unsupported(struct fg_completion_parse *parse)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const json_t *value = fg_completion_parameter(parse, rules[i].name);
        if (value == NULL || is_harmless(value, rules[i].harmless))
            continue;
        bool wants_number = rules[i].harmless == HARMLESS_ZERO || rules[i].harmless == HARMLESS_ONE;
        if (wants_number && !json_is_number(value))
            return fg_completion_reject(parse, 400, "invalid_type", rules[i].name,
                                        "must be a number");
        return fg_completion_reject(parse, 400, "unsupported_parameter", rules[i].name,
                                    "with this value is not supported; leave it out");
    }
    return true;
}
