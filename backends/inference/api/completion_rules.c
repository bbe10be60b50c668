/*
 * completion_rules.c: what a request asks of its tokens: penalties, biases, logprobs, the form of
 * the answer.
 * Source   the OpenAI API reference; min_p, repetition_penalty and guided_json as vLLM has them.
 */
#include "completion_request_internal.h"

#include "inference/grammar/json_schema.h"

#include <stdlib.h>

#define SCHEMA_BYTES_MAX ((size_t)65536)

static void put_u32(unsigned char *to, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

/* A token's number as the key of an object. */
static bool read_token(const char *text, uint32_t *token)
{
    uint64_t value;
    bool is_number = fg_span_parse_u64(fg_span_from_string(text), &value) && value < UINT32_MAX;
    *token = (uint32_t)value;
    return is_number;
}

static bool parse_biases(struct fg_completion_parse *parse)
{
    struct fg_completion_request *request = parse->request;
    json_t *biases = fg_completion_parameter(parse, "logit_bias");
    if (biases == NULL || (json_is_object(biases) && json_object_size(biases) == 0))
        return true;
    if (!json_is_object(biases))
        return fg_completion_reject(parse, 400, "invalid_type", "logit_bias", "must be an object");
    size_t count = json_object_size(biases);
    if (count > FG_CHANNEL_BIASES_MAX)
        return fg_completion_reject(parse, 400, "invalid_value", "logit_bias",
                                    "has %zu entries; expected at most %u", count,
                                    FG_CHANNEL_BIASES_MAX);
    request->bias = calloc(count, FG_CHANNEL_BIAS_BYTES);
    if (request->bias == NULL)
        return fg_completion_reject(parse, 503, "no_memory", NULL, "no memory for the request");
    const char *name;
    json_t *value;
    json_object_foreach(biases, name, value)
    {
        unsigned char *to = request->bias + request->bias_count * FG_CHANNEL_BIAS_BYTES;
        double number = json_number_value(value);
        uint32_t token, bits;
        if (!read_token(name, &token))
            return fg_completion_reject(parse, 400, "invalid_value", "logit_bias",
                                        "has the key '%.60s'; expected the number of a token",
                                        name);
        if (!json_is_number(value) || !(number >= -100 && number <= 100))
            return fg_completion_reject(parse, 400, "invalid_value",
                                        fg_completion_at(parse, "logit_bias.%.60s", name),
                                        "must be a number from -100 to 100");
        float bias = (float)number;
        memcpy(&bits, &bias, sizeof(bits));
        put_u32(to, token);
        put_u32(to + 4, bits);
        request->bias_count++;
    }
    return true;
}

/* Chat: logprobs true and top_logprobs; plain completions: logprobs is the number. */
static bool parse_logprobs(struct fg_completion_parse *parse)
{
    struct fg_completion_request *request = parse->request;
    json_t *value = fg_completion_parameter(parse, "logprobs");
    json_int_t top = 0;
    bool is_given;
    if (!request->is_chat) {
        if (json_is_boolean(value))
            return fg_completion_reject(parse, 400, "invalid_type", "logprobs",
                                        "must be a whole number");
        if (!fg_completion_integer(parse, "logprobs", 0, FG_CHANNEL_LOGPROBS_MAX - 1, &top,
                                   &is_given))
            return false;
        request->sampling.logprob_count = is_given ? 1 + (uint32_t)top : 0;
        return true;
    }
    if (value != NULL && !json_is_boolean(value))
        return fg_completion_reject(parse, 400, "invalid_type", "logprobs",
                                    "must be true or false");
    if (!fg_completion_integer(parse, "top_logprobs", 0, FG_CHANNEL_LOGPROBS_MAX - 1, &top,
                               &is_given))
        return false;
    if (top > 0 && !json_is_true(value))
        return fg_completion_reject(parse, 400, "invalid_value", "top_logprobs",
                                    "is only allowed when 'logprobs' is true");
    request->sampling.logprob_count = json_is_true(value) ? 1 + (uint32_t)top : 0;
    return true;
}

/* Compiled here once to tell what is wrong with it; the worker compiles it again for itself. */
bool fg_completion_take_schema(struct fg_completion_parse *parse, const char *name, json_t *schema)
{
    struct fg_completion_request *request = parse->request;
    struct fg_json_schema compiled;
    struct fg_error error = {0};
    char *text = json_dumps(schema, JSON_ENCODE_ANY | JSON_COMPACT);
    json_t *string = text == NULL ? NULL : json_string_nocheck(text);
    free(text);
    request->schema =
        string == NULL ? (struct fg_span){NULL, 0} : fg_completion_hold(parse, string);
    json_decref(string);
    if (request->schema.data == NULL)
        return fg_completion_reject(parse, 503, "no_memory", NULL, "no memory for the request");
    if (request->schema.len > SCHEMA_BYTES_MAX)
        return fg_completion_reject(parse, 400, "invalid_value", name,
                                    "has %zu bytes; expected at most %zu", request->schema.len,
                                    SCHEMA_BYTES_MAX);
    if (fg_json_schema_compile(&compiled, request->schema, &error) != FG_OK)
        return fg_completion_reject(parse, 400, "invalid_json_schema", name,
                                    "holds what cannot be kept to: %s", error.message);
    fg_json_schema_fini(&compiled);
    request->constraint = FG_CONSTRAINT_JSON;
    return true;
}

static bool parse_json_schema(struct fg_completion_parse *parse, json_t *format)
{
    json_t *described = json_object_get(format, "json_schema");
    json_t *schema = json_object_get(described, "schema");
    if (!json_is_object(described))
        return fg_completion_reject(parse, 400, "invalid_type", "response_format.json_schema",
                                    "must be an object");
    if (schema == NULL)
        return fg_completion_reject(parse, 400, "missing_required_parameter",
                                    "response_format.json_schema.schema", "is missing");
    return fg_completion_take_schema(parse, "response_format.json_schema.schema", schema);
}

static bool parse_format(struct fg_completion_parse *parse)
{
    json_t *format = fg_completion_parameter(parse, "response_format");
    json_t *guided = fg_completion_parameter(parse, "guided_json");
    if (parse->request->forces_call)
        return true; /* what has to be called decides */
    if (guided != NULL && format != NULL)
        return fg_completion_reject(parse, 400, "invalid_value", "guided_json",
                                    "and 'response_format' cannot both be given");
    if (guided != NULL)
        return fg_completion_take_schema(parse, "guided_json", guided);
    if (format == NULL)
        return true;
    json_t *type = json_object_get(format, "type");
    if (!json_is_string(type))
        return fg_completion_reject(parse, 400, "invalid_type", "response_format",
                                    "must be an object with a 'type'");
    if (strcmp(json_string_value(type), "text") == 0)
        return true;
    if (strcmp(json_string_value(type), "json_schema") == 0)
        return parse_json_schema(parse, format);
    if (strcmp(json_string_value(type), "json_object") != 0)
        return fg_completion_reject(parse, 400, "invalid_value", "response_format.type",
                                    "is '%.60s'; expected text, json_object or json_schema",
                                    json_string_value(type));
    parse->request->constraint = FG_CONSTRAINT_JSON;
    return true;
}

bool fg_completion_parse_rules(struct fg_completion_parse *parse)
{
    struct fg_sampling *sampling = &parse->request->sampling;
    return fg_completion_real(parse, "min_p", 0, 1, false, &sampling->min_p) &&
           fg_completion_real(parse, "repetition_penalty", 0, 10, true,
                              &sampling->repetition_penalty) &&
           fg_completion_real(parse, "frequency_penalty", -2, 2, false,
                              &sampling->frequency_penalty) &&
           fg_completion_real(parse, "presence_penalty", -2, 2, false,
                              &sampling->presence_penalty) &&
           parse_biases(parse) && parse_logprobs(parse) && parse_format(parse);
}
