/*
 * completion_prompt.c: messages or prompt of a request, into (role, content) pairs.
 * Memory   a text that was one JSON string is kept as it is; parts are joined into a new one, with
 * a line end between them as vLLM and llama-server do.
 */
#include "completion_request_internal.h"

#include <stdlib.h>

static bool reject_memory(struct fg_completion_parse *parse)
{
    return fg_completion_reject(parse, 503, "no_memory", NULL, "no memory for the request");
}

/* The constant for a role; data NULL for one that is not known. */
static struct fg_span role_of(struct fg_span role)
{
    static const struct {
        struct fg_span asked;
        struct fg_span meant;
    } roles[] = {
        {FG_SPAN_LITERAL("user"), FG_SPAN_LITERAL("user")},
        {FG_SPAN_LITERAL("assistant"), FG_SPAN_LITERAL("assistant")},
        {FG_SPAN_LITERAL("system"), FG_SPAN_LITERAL("system")},
        {FG_SPAN_LITERAL("developer"), FG_SPAN_LITERAL("system")}, /* its newer name */
        {FG_SPAN_LITERAL("tool"), FG_SPAN_LITERAL("tool")},
    };
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (fg_span_equal(role, roles[i].asked))
            return roles[i].meant;
    }
    return (struct fg_span){NULL, 0};
}

/* The text of a {"type":"text","text":...} part; NULL after rejecting. */
static json_t *part_text(struct fg_completion_parse *parse, json_t *part, size_t message_index,
                         size_t part_index)
{
    json_t *type = json_object_get(part, "type");
    json_t *text = json_object_get(part, "text");
    if (!json_is_string(type)) {
        fg_completion_reject(
            parse, 400, "invalid_type",
            fg_completion_at(parse, "messages[%zu].content[%zu]", message_index, part_index),
            "must be an object with a 'type'");
        return NULL;
    }
    if (strcmp(json_string_value(type), "text") != 0) {
        fg_completion_reject(
            parse, 400, "unsupported_parameter",
            fg_completion_at(parse, "messages[%zu].content[%zu].type", message_index, part_index),
            "is '%.60s'; only 'text' is supported", json_string_value(type));
        return NULL;
    }
    if (!json_is_string(text)) {
        fg_completion_reject(
            parse, 400, "invalid_type",
            fg_completion_at(parse, "messages[%zu].content[%zu].text", message_index, part_index),
            "must be a string");
        return NULL;
    }
    return text;
}

/* All parts as one string, a new reference; NULL after rejecting. */
static json_t *join_parts(struct fg_completion_parse *parse, json_t *parts, size_t message_index)
{
    size_t count = json_array_size(parts);
    size_t bytes = count; /* the line ends between, and one to spare */
    for (size_t i = 0; i < count; i++) {
        json_t *text = part_text(parse, json_array_get(parts, i), message_index, i);
        if (text == NULL)
            return NULL;
        bytes += json_string_length(text);
    }
    char *joined = malloc(bytes + 1);
    size_t used = 0;
    for (size_t i = 0; joined != NULL && i < count; i++) {
        json_t *text = json_object_get(json_array_get(parts, i), "text");
        if (i > 0)
            joined[used++] = '\n';
        memcpy(joined + used, json_string_value(text), json_string_length(text));
        used += json_string_length(text);
    }
    json_t *string = joined == NULL ? NULL : json_stringn_nocheck(joined, used);
    free(joined);
    if (string == NULL)
        reject_memory(parse);
    return string;
}

static bool parse_content(struct fg_completion_parse *parse, json_t *content, size_t index,
                          struct fg_span *out)
{
    if (json_is_string(content)) {
        *out = fg_completion_hold(parse, content);
    } else if (json_is_array(content) && json_array_size(content) > 0) {
        json_t *joined = join_parts(parse, content, index);
        if (joined == NULL)
            return false;
        *out = fg_completion_hold(parse, joined);
        json_decref(joined);
    } else {
        return fg_completion_reject(parse, 400, "invalid_type",
                                    fg_completion_at(parse, "messages[%zu].content", index),
                                    "must be a string or an array of text parts");
    }
    return out->data != NULL || reject_memory(parse);
}

static bool parse_message(struct fg_completion_parse *parse, json_t *message, size_t index)
{
    struct fg_channel_message *out = &parse->request->messages[index];
    if (!json_is_object(message))
        return fg_completion_reject(parse, 400, "invalid_type",
                                    fg_completion_at(parse, "messages[%zu]", index),
                                    "must be an object");
    json_t *role = json_object_get(message, "role");
    if (!json_is_string(role))
        return fg_completion_reject(parse, 400, "invalid_type",
                                    fg_completion_at(parse, "messages[%zu].role", index),
                                    "must be a string");
    out->role = role_of(fg_span_from_string(json_string_value(role)));
    if (out->role.data == NULL)
        return fg_completion_reject(
            parse, 400, "invalid_value", fg_completion_at(parse, "messages[%zu].role", index),
            "is '%.60s'; expected system, developer, user, assistant or tool",
            json_string_value(role));
    json_t *call = json_object_get(message, "function_call");
    if (call != NULL && !json_is_null(call))
        return fg_completion_reject(parse, 400, "unsupported_parameter",
                                    fg_completion_at(parse, "messages[%zu].function_call", index),
                                    "is not supported; expected tool_calls");
    json_t *calls = json_object_get(message, "tool_calls");
    json_t *content = json_object_get(message, "content");
    if (!json_is_array(calls) || json_array_size(calls) == 0)
        return parse_content(parse, content, index, &out->content);
    if (content == NULL || json_is_null(content))
        out->content = FG_SPAN("");
    else if (!parse_content(parse, content, index, &out->content))
        return false;
    return fg_completion_append_calls(parse, calls, index, &out->content);
}

static bool make_messages(struct fg_completion_parse *parse, size_t count)
{
    parse->request->messages = calloc(count, sizeof(parse->request->messages[0]));
    if (parse->request->messages == NULL)
        return reject_memory(parse);
    parse->request->message_count = (uint32_t)count;
    return true;
}

bool fg_completion_parse_messages(struct fg_completion_parse *parse)
{
    json_t *messages = fg_completion_parameter(parse, "messages");
    if (messages == NULL)
        return fg_completion_reject(parse, 400, "missing_required_parameter", "messages",
                                    "is missing; expected an array of messages");
    if (!json_is_array(messages))
        return fg_completion_reject(parse, 400, "invalid_type", "messages", "must be an array");
    size_t count = json_array_size(messages);
    if (count == 0 || count > FG_CHANNEL_MESSAGES_MAX)
        return fg_completion_reject(parse, 400, "invalid_value", "messages",
                                    "has %zu entries; expected 1 to %u", count,
                                    FG_CHANNEL_MESSAGES_MAX);
    if (!make_messages(parse, count))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!parse_message(parse, json_array_get(messages, i), i))
            return false;
    }
    return true;
}

bool fg_completion_parse_prompt(struct fg_completion_parse *parse)
{
    json_t *prompt = fg_completion_parameter(parse, "prompt");
    if (prompt == NULL)
        return fg_completion_reject(parse, 400, "missing_required_parameter", "prompt",
                                    "is missing; expected a string");
    if (json_is_array(prompt) && json_array_size(prompt) > 1)
        return fg_completion_reject(
            parse, 400, "unsupported_parameter", "prompt",
            "has %zu entries; only one prompt of text per request is supported",
            json_array_size(prompt));
    if (json_is_array(prompt))
        prompt = json_array_get(prompt, 0);
    if (!json_is_string(prompt))
        return fg_completion_reject(parse, 400, "invalid_type", "prompt",
                                    "must be a string, or an array of one string");
    if (json_string_length(prompt) == 0)
        return fg_completion_reject(parse, 400, "invalid_value", "prompt", "must not be empty");
    if (!make_messages(parse, 1))
        return false;
    struct fg_channel_message *message = &parse->request->messages[0];
    message->role = FG_SPAN("");
    message->content = fg_completion_hold(parse, prompt);
    return message->content.data != NULL || reject_memory(parse);
}
