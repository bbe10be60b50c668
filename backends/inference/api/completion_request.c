/*
 * completion_request.c: the numbers and switches; the prompt and what is refused are in files of
 * their own.
 */
#include "completion_request_internal.h"

#include "json_escape.h"

#include <assert.h>
#include <float.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *fg_completion_at(struct fg_completion_parse *parse, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(parse->error->param, sizeof(parse->error->param), fmt, args);
    va_end(args);
    fg_json_clean(parse->error->param); /* a client's name may have been cut within a character */
    return parse->error->param;
}

bool fg_completion_reject(struct fg_completion_parse *parse, unsigned status, const char *code,
                          const char *param, const char *fmt, ...)
{
    struct fg_completion_error *error = parse->error;
    if (param != error->param)
        snprintf(error->param, sizeof(error->param), "%s", param == NULL ? "" : param);
    int prefix = 0;
    if (param != NULL)
        prefix = snprintf(error->message, sizeof(error->message), "'%s' ", error->param);
    va_list args;
    va_start(args, fmt);
    vsnprintf(error->message + prefix, sizeof(error->message) - (size_t)prefix, fmt, args);
    va_end(args);
    fg_json_clean(error->message); /* a name may have been cut within a character */
    error->status = status;
    error->code = code;
    return false;
}

json_t *fg_completion_parameter(const struct fg_completion_parse *parse, const char *name)
{
    json_t *value = json_object_get(parse->root, name);
    return json_is_null(value) ? NULL : value;
}

struct fg_span fg_completion_hold(struct fg_completion_parse *parse, json_t *string)
{
    if (json_array_append(parse->request->held, string) != 0)
        return (struct fg_span){NULL, 0};
    return fg_span_make(json_string_value(string), json_string_length(string));
}

static bool read_bool(struct fg_completion_parse *parse, const char *name, bool *out)
{
    json_t *value = fg_completion_parameter(parse, name);
    if (value == NULL)
        return true;
    if (!json_is_boolean(value))
        return fg_completion_reject(parse, 400, "invalid_type", name, "must be true or false");
    *out = json_is_true(value);
    return true;
}

bool fg_completion_integer(struct fg_completion_parse *parse, const char *name, json_int_t least,
                           json_int_t most, json_int_t *out, bool *is_given)
{
    json_t *value = fg_completion_parameter(parse, name);
    *is_given = value != NULL;
    if (value == NULL)
        return true;
    if (!json_is_integer(value))
        return fg_completion_reject(parse, 400, "invalid_type", name, "must be a whole number");
    *out = json_integer_value(value);
    if (*out < least || *out > most)
        return fg_completion_reject(parse, 400, "invalid_value", name,
                                    "is %lld; expected %lld to %lld", (long long)*out,
                                    (long long)least, (long long)most);
    return true;
}

bool fg_completion_real(struct fg_completion_parse *parse, const char *name, double least,
                        double most, bool is_open, float *out)
{
    json_t *value = fg_completion_parameter(parse, name);
    if (value == NULL)
        return true;
    if (!json_is_number(value))
        return fg_completion_reject(parse, 400, "invalid_type", name, "must be a number");
    double number = json_number_value(value);
    if (!(number >= least && number <= most) || (is_open && number <= least))
        return fg_completion_reject(parse, 400, "invalid_value", name, "is %g; expected %s%g to %g",
                                    number, is_open ? "more than " : "", least, most);
    *out = (float)number;
    if (is_open && *out < FLT_MIN)
        *out = FLT_MIN; /* too small for a float, yet not nothing */
    return true;
}

static bool parse_model(struct fg_completion_parse *parse)
{
    json_t *value = fg_completion_parameter(parse, "model");
    if (value == NULL)
        return true;
    if (!json_is_string(value))
        return fg_completion_reject(parse, 400, "invalid_type", "model", "must be a string");
    if (strcmp(json_string_value(value), parse->limits->model_name) != 0)
        return fg_completion_reject(parse, 404, "model_not_found", NULL,
                                    "the model '%.120s' does not exist; 'model' may be '%.120s'",
                                    json_string_value(value), parse->limits->model_name);
    return true;
}

static bool parse_max_tokens(struct fg_completion_parse *parse)
{
    uint32_t limit = parse->limits->max_tokens_limit;
    json_int_t tokens = parse->limits->max_tokens_default;
    if (tokens > (json_int_t)limit)
        tokens = limit;
    bool is_given;
    if (!fg_completion_integer(parse, "max_tokens", 1, limit, &tokens, &is_given) ||
        !fg_completion_integer(parse, "max_completion_tokens", 1, limit, &tokens, &is_given))
        return false;
    parse->request->max_tokens = (uint32_t)tokens;
    return true;
}

static bool parse_sampling(struct fg_completion_parse *parse)
{
    struct fg_sampling *sampling = &parse->request->sampling;
    *sampling = (struct fg_sampling){.temperature = 1, .top_p = 1};
    json_int_t top_k = 0;
    json_int_t seed = 0;
    bool is_given;
    if (!fg_completion_real(parse, "temperature", 0, 2, false, &sampling->temperature) ||
        !fg_completion_real(parse, "top_p", 0, 1, true, &sampling->top_p) ||
        !fg_completion_integer(parse, "top_k", -1, INT32_MAX, &top_k, &is_given) ||
        !fg_completion_integer(parse, "seed", INT64_MIN, INT64_MAX, &seed,
                               &parse->request->has_seed))
        return false;
    sampling->top_k = top_k < 0 ? 0 : (uint32_t)top_k; /* -1 is vLLM's "off" */
    sampling->seed = (uint64_t)seed;
    return true;
}

static bool parse_stop_text(struct fg_completion_parse *parse, json_t *value)
{
    struct fg_completion_request *request = parse->request;
    if (!json_is_string(value))
        return fg_completion_reject(parse, 400, "invalid_type", "stop",
                                    "must be a string or an array of strings");
    size_t bytes = json_string_length(value);
    if (bytes == 0 || bytes > FG_COMPLETION_STOP_BYTES_MAX)
        return fg_completion_reject(parse, 400, "invalid_value", "stop",
                                    "has a text of %zu bytes; expected 1 to %zu", bytes,
                                    FG_COMPLETION_STOP_BYTES_MAX);
    struct fg_span text = fg_completion_hold(parse, value);
    if (text.data == NULL)
        return fg_completion_reject(parse, 503, "no_memory", NULL, "no memory for the request");
    request->stops[request->stop_count++] = text;
    return true;
}

static bool parse_stop(struct fg_completion_parse *parse)
{
    json_t *value = fg_completion_parameter(parse, "stop");
    if (value == NULL)
        return true;
    if (!json_is_array(value))
        return parse_stop_text(parse, value);
    if (json_array_size(value) > FG_CHANNEL_STOPS_MAX)
        return fg_completion_reject(parse, 400, "invalid_value", "stop",
                                    "has %zu texts; expected at most %u", json_array_size(value),
                                    FG_CHANNEL_STOPS_MAX);
    size_t index;
    json_t *text;
    json_array_foreach(value, index, text)
    {
        if (!parse_stop_text(parse, text))
            return false;
    }
    return true;
}

static bool parse_stream(struct fg_completion_parse *parse)
{
    struct fg_completion_request *request = parse->request;
    if (!read_bool(parse, "stream", &request->is_stream))
        return false;
    json_t *options = fg_completion_parameter(parse, "stream_options");
    if (options == NULL)
        return true;
    if (!json_is_object(options))
        return fg_completion_reject(parse, 400, "invalid_type", "stream_options",
                                    "must be an object");
    if (!request->is_stream)
        return fg_completion_reject(parse, 400, "invalid_value", "stream_options",
                                    "is only allowed when 'stream' is true");
    json_t *usage = json_object_get(options, "include_usage");
    if (usage != NULL && !json_is_null(usage) && !json_is_boolean(usage))
        return fg_completion_reject(parse, 400, "invalid_type", "stream_options.include_usage",
                                    "must be true or false");
    request->include_usage = json_is_true(usage);
    return true;
}

/* enable_thinking, at the top or among chat_template_kwargs; other template switches do not exist.
 */
static bool parse_thinking(struct fg_completion_parse *parse)
{
    struct fg_completion_request *request = parse->request;
    request->thinking = true; /* as the model's own template has it */
    if (!read_bool(parse, "enable_thinking", &request->thinking))
        return false;
    json_t *switches = fg_completion_parameter(parse, "chat_template_kwargs");
    if (switches == NULL)
        return true;
    if (!json_is_object(switches))
        return fg_completion_reject(parse, 400, "invalid_type", "chat_template_kwargs",
                                    "must be an object");
    const char *name;
    json_t *value;
    json_object_foreach(switches, name, value)
    {
        if (strcmp(name, "enable_thinking") != 0)
            return fg_completion_reject(parse, 400, "unsupported_parameter",
                                        fg_completion_at(parse, "chat_template_kwargs.%.80s", name),
                                        "is not supported");
        if (!json_is_boolean(value))
            return fg_completion_reject(parse, 400, "invalid_type",
                                        "chat_template_kwargs.enable_thinking",
                                        "must be true or false");
        request->thinking = json_is_true(value);
    }
    return true;
}

static bool parse_count(struct fg_completion_parse *parse)
{
    json_int_t count = 1;
    bool is_given;
    if (!fg_completion_integer(parse, "n", 1, FG_COMPLETION_CHOICES_MAX, &count, &is_given))
        return false;
    parse->request->choice_count = (uint32_t)count;
    return true;
}

static bool parse_all(struct fg_completion_parse *parse, enum fg_completion_kind kind)
{
    if (kind == FG_COMPLETION_EMBEDDING)
        return parse_model(parse) && fg_completion_parse_embedding(parse);
    return parse_model(parse) &&
           (parse->request->is_chat ? fg_completion_parse_messages(parse)
                                    : fg_completion_parse_prompt(parse)) &&
           parse_max_tokens(parse) && parse_sampling(parse) && fg_completion_parse_tools(parse) &&
           fg_completion_parse_rules(parse) && parse_count(parse) && parse_stop(parse) &&
           parse_stream(parse) && parse_thinking(parse) &&
           read_bool(parse, "ignore_eos", &parse->request->ignore_end) &&
           fg_completion_check_unsupported(parse);
}

bool fg_completion_request_parse(struct fg_completion_request *request,
                                 enum fg_completion_kind kind, struct fg_span body,
                                 const struct fg_completion_limits *limits,
                                 struct fg_completion_error *error)
{
    assert(limits->max_tokens_limit > 0);
    *request = (struct fg_completion_request){.is_chat = kind == FG_COMPLETION_CHAT};
    struct fg_completion_parse parse = {NULL, limits, request, error};
    json_error_t where;
    parse.root = json_loadb(body.len == 0 ? "" : body.data, body.len,
                            JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    if (parse.root == NULL)
        return fg_completion_reject(
            &parse, 400, "invalid_json", NULL,
            "the body is not valid JSON: line %d, column %d: %s; expected a JSON object",
            where.line, where.column, where.text);
    bool is_good = false;
    request->held = json_array();
    if (!json_is_object(parse.root))
        fg_completion_reject(&parse, 400, "invalid_json", NULL,
                             "the body is JSON but not an object; expected {...}");
    else if (request->held == NULL)
        fg_completion_reject(&parse, 503, "no_memory", NULL, "no memory for the request");
    else
        is_good = parse_all(&parse, kind);
    json_decref(parse.root);
    if (!is_good)
        fg_completion_request_fini(request);
    return is_good;
}

void fg_completion_request_fini(struct fg_completion_request *request)
{
    free(request->messages);
    free(request->bias);
    json_decref(request->held);
    request->messages = NULL;
    request->bias = NULL;
    request->held = NULL;
}
