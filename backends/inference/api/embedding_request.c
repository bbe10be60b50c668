/*
 * embedding_request.c: the body of POST /v1/embeddings: one text or several, each of which becomes
 * a choice of the answer.
 * Source   the OpenAI API reference; `pooling` is ours.
 */
#include "completion_request_internal.h"

#include <stdlib.h>

static bool reject_memory(struct fg_completion_parse *parse)
{
    return fg_completion_reject(parse, 503, "no_memory", NULL, "no memory for the request");
}

static bool take_text(struct fg_completion_parse *parse, json_t *text, size_t index)
{
    struct fg_channel_message *message = &parse->request->messages[index];
    if (!json_is_string(text))
        return fg_completion_reject(parse, 400, "invalid_type", "input",
                                    "must be a string or an array of strings");
    if (json_string_length(text) == 0)
        return fg_completion_reject(parse, 400, "invalid_value",
                                    fg_completion_at(parse, "input[%zu]", index),
                                    "is empty; expected some text");
    message->role = FG_SPAN("");
    message->content = fg_completion_hold(parse, text);
    return message->content.data != NULL || reject_memory(parse);
}

static bool parse_input(struct fg_completion_parse *parse)
{
    struct fg_completion_request *request = parse->request;
    json_t *input = fg_completion_parameter(parse, "input");
    size_t count = json_is_array(input) ? json_array_size(input) : 1;
    if (input == NULL)
        return fg_completion_reject(parse, 400, "missing_required_parameter", "input",
                                    "is missing; expected a string or an array of strings");
    if (count == 0 || count > FG_COMPLETION_INPUTS_MAX)
        return fg_completion_reject(parse, 400, "invalid_value", "input",
                                    "has %zu texts; expected 1 to %u", count,
                                    FG_COMPLETION_INPUTS_MAX);
    request->messages = calloc(count, sizeof(request->messages[0]));
    if (request->messages == NULL)
        return reject_memory(parse);
    request->message_count = (uint32_t)count;
    request->choice_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        if (!take_text(parse, json_is_array(input) ? json_array_get(input, i) : input, i))
            return false;
    }
    return true;
}

/* One of two words; *is_second tells which. */
static bool parse_word(struct fg_completion_parse *parse, const char *name, const char *first,
                       const char *second, bool *is_second)
{
    json_t *value = fg_completion_parameter(parse, name);
    const char *word = json_string_value(value);
    *is_second = word != NULL && strcmp(word, second) == 0;
    if (value == NULL || *is_second || (word != NULL && strcmp(word, first) == 0))
        return true;
    return fg_completion_reject(parse, 400, "invalid_value", name, "must be '%s' or '%s'", first,
                                second);
}

bool fg_completion_parse_embedding(struct fg_completion_parse *parse)
{
    struct fg_completion_request *request = parse->request;
    bool is_last;
    request->max_tokens = 1; /* of which none is made */
    request->sampling = (struct fg_sampling){.top_p = 1};
    if (fg_completion_parameter(parse, "dimensions") != NULL)
        return fg_completion_reject(parse, 400, "unsupported_parameter", "dimensions",
                                    "is not supported: the length is the model's");
    if (!parse_input(parse) ||
        !parse_word(parse, "encoding_format", "float", "base64", &request->is_base64) ||
        !parse_word(parse, "pooling", "mean", "last", &is_last))
        return false;
    request->task = is_last ? FG_TASK_EMBED_LAST : FG_TASK_EMBED_MEAN;
    return true;
}
