/*
 * completion_tools.c: the tools that a request describes, and the calls that its messages tell of,
 * as the Qwen templates have them.
 * Source   the OpenAI API reference (tools, tool_choice, tool_calls); chat_template of Qwen2.5,
 * whose `tojson` writes ", " and ": " between things, as jansson does.
 */
#include "completion_request_internal.h"

#include "inference/grammar/json_spell.h"

#include <stdlib.h>

#define TOOLS_MAX ((size_t)128)

static bool reject_memory(struct fg_completion_parse *parse)
{
    return fg_completion_reject(parse, 503, "no_memory", NULL, "no memory for the request");
}

static bool check_tool(struct fg_completion_parse *parse, const json_t *tool, size_t index)
{
    const json_t *type = json_object_get(tool, "type");
    const json_t *function = json_object_get(tool, "function");
    const json_t *parameters = json_object_get(function, "parameters");
    if (!json_is_string(type) || strcmp(json_string_value(type), "function") != 0)
        return fg_completion_reject(parse, 400, "invalid_value",
                                    fg_completion_at(parse, "tools[%zu].type", index),
                                    "must be 'function'");
    if (!json_is_string(json_object_get(function, "name")))
        return fg_completion_reject(parse, 400, "invalid_type",
                                    fg_completion_at(parse, "tools[%zu].function.name", index),
                                    "must be a string");
    if (parameters != NULL && !json_is_object(parameters))
        return fg_completion_reject(
            parse, 400, "invalid_type",
            fg_completion_at(parse, "tools[%zu].function.parameters", index), "must be an object");
    return true;
}

/* Each on a line of its own. */
static bool write_tools(struct fg_completion_parse *parse, const json_t *tools)
{
    char *lines[TOOLS_MAX];
    size_t count = json_array_size(tools);
    size_t bytes = 1, made = 0;
    while (made < count && (lines[made] = fg_json_spell(json_array_get(tools, made))) != NULL)
        bytes += strlen(lines[made++]) + 1;
    char *all = made == count ? malloc(bytes) : NULL;
    size_t used = 0;
    for (size_t i = 0; i < made; i++) {
        size_t len = strlen(lines[i]);
        if (all != NULL) {
            memcpy(all + used, lines[i], len);
            used += len;
            all[used++] = '\n';
        }
        free(lines[i]);
    }
    json_t *string = all == NULL ? NULL : json_stringn_nocheck(all, used - 1);
    free(all);
    parse->request->tools =
        string == NULL ? (struct fg_span){NULL, 0} : fg_completion_hold(parse, string);
    json_decref(string);
    return parse->request->tools.data != NULL || reject_memory(parse);
}

/* What an answer must look like that is a call of `tool` and nothing else. */
static json_t *call_schema(json_t *tool)
{
    json_t *function = json_object_get(tool, "function");
    json_t *parameters = json_object_get(function, "parameters");
    json_t *arguments =
        parameters != NULL ? json_incref(parameters) : json_pack("{s:s}", "type", "object");
    return json_pack("{s:s,s:{s:{s:O},s:o},s:[s,s],s:b}", "type", "object", "properties", "name",
                     "const", json_object_get(function, "name"), "arguments", arguments, "required",
                     "name", "arguments", "additionalProperties", 0);
}

/* One of the tools, or the one named, has to be called: the answer is held to that. */
static bool force_call(struct fg_completion_parse *parse, json_t *tools, const char *name)
{
    json_t *choices = json_array();
    size_t index;
    json_t *tool;
    json_array_foreach(tools, index, tool)
    {
        const json_t *named = json_object_get(json_object_get(tool, "function"), "name");
        if (name == NULL || strcmp(json_string_value(named), name) == 0)
            json_array_append_new(choices, call_schema(tool));
    }
    bool is_known = json_array_size(choices) > 0;
    json_t *schema = json_pack("{s:o}", "anyOf", choices);
    if (!is_known) {
        json_decref(schema);
        return fg_completion_reject(parse, 400, "invalid_value", "tool_choice",
                                    "names '%.60s', which is not among the tools", name);
    }
    if (schema == NULL)
        return reject_memory(parse);
    parse->request->forces_call = true;
    bool is_good = fg_completion_take_schema(parse, "tools", schema);
    json_decref(schema);
    return is_good;
}

static bool parse_choice(struct fg_completion_parse *parse, json_t *tools)
{
    json_t *choice = fg_completion_parameter(parse, "tool_choice");
    const char *word = json_string_value(choice);
    if (choice == NULL || (word != NULL && strcmp(word, "auto") == 0))
        return true;
    if (word != NULL && strcmp(word, "none") == 0) {
        parse->request->tools = (struct fg_span){NULL, 0};
        return true;
    }
    if (word != NULL && strcmp(word, "required") == 0)
        return force_call(parse, tools, NULL);
    const json_t *name = json_object_get(json_object_get(choice, "function"), "name");
    if (!json_is_string(name))
        return fg_completion_reject(
            parse, 400, "invalid_value", "tool_choice",
            "must be none, auto, required or an object that names a function");
    return force_call(parse, tools, json_string_value(name));
}

/* Without tools the model calls none, whether that is asked for or left to it. */
static bool check_choice_of_none(struct fg_completion_parse *parse)
{
    const json_t *choice = fg_completion_parameter(parse, "tool_choice");
    const char *word = json_string_value(choice);
    if (choice == NULL ||
        (word != NULL && (strcmp(word, "none") == 0 || strcmp(word, "auto") == 0)))
        return true;
    return fg_completion_reject(parse, 400, "invalid_value", "tool_choice",
                                "must be none or auto where 'tools' has none");
}

bool fg_completion_parse_tools(struct fg_completion_parse *parse)
{
    json_t *tools = fg_completion_parameter(parse, "tools");
    if (tools == NULL || (json_is_array(tools) && json_array_size(tools) == 0))
        return check_choice_of_none(parse);
    if (!parse->request->is_chat)
        return fg_completion_reject(parse, 400, "unsupported_parameter", "tools",
                                    "is only known to chat completions");
    size_t count = json_array_size(tools);
    if (!json_is_array(tools) || count > TOOLS_MAX)
        return fg_completion_reject(parse, 400, "invalid_type", "tools",
                                    "must be an array of at most %zu tools", TOOLS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (!check_tool(parse, json_array_get(tools, i), i))
            return false;
    }
    return write_tools(parse, tools) && parse_choice(parse, tools);
}

/* ---- calls that a message of the assistant tells of ---- */

/* Arguments are an object, or its text. A new reference; NULL: neither. */
static json_t *read_arguments(json_t *arguments)
{
    if (json_is_object(arguments))
        return json_incref(arguments);
    if (!json_is_string(arguments))
        return NULL;
    if (json_string_length(arguments) == 0)
        return json_object(); /* as some write a call without any */
    return json_loadb(json_string_value(arguments), json_string_length(arguments), JSON_ALLOW_NUL,
                      NULL);
}

static char *spell_call(const json_t *name, json_t *arguments)
{
    json_t *call = json_pack("{s:O,s:O}", "name", name, "arguments", arguments);
    char *text = call == NULL ? NULL : fg_json_spell(call);
    json_decref(call);
    return text;
}

static bool append(char **text, size_t *len, const char *part)
{
    size_t more = strlen(part);
    char *grown = realloc(*text, *len + more + 1);
    if (grown == NULL)
        return false;
    memcpy(grown + *len, part, more + 1);
    *text = grown;
    *len += more;
    return true;
}

static bool append_call(struct fg_completion_parse *parse, json_t *call, size_t message_index,
                        size_t call_index, char **text, size_t *len)
{
    json_t *function = json_object_get(call, "function");
    json_t *name = json_object_get(function, "name");
    json_t *arguments = read_arguments(json_object_get(function, "arguments"));
    if (!json_is_string(name) || arguments == NULL) {
        json_decref(arguments);
        return fg_completion_reject(parse, 400, "invalid_value",
                                    fg_completion_at(parse,
                                                     "messages[%zu].tool_calls[%zu].function",
                                                     message_index, call_index),
                                    "must have a name and arguments in JSON");
    }
    char *spelled = spell_call(name, arguments);
    json_decref(arguments);
    bool is_good = spelled != NULL &&
                   append(text, len, *len > 0 ? "\n<tool_call>\n" : "<tool_call>\n") &&
                   append(text, len, spelled) && append(text, len, "\n</tool_call>");
    free(spelled);
    return is_good || reject_memory(parse);
}

bool fg_completion_append_calls(struct fg_completion_parse *parse, json_t *calls,
                                size_t message_index, struct fg_span *content)
{
    char *text = NULL;
    size_t len = 0, index;
    json_t *call;
    bool is_good = true;
    if (content->len > 0) {
        text = malloc(content->len + 1);
        if (text == NULL)
            return reject_memory(parse);
        memcpy(text, content->data, content->len);
        len = content->len;
    }
    json_array_foreach(calls, index, call)
    {
        is_good = is_good && append_call(parse, call, message_index, index, &text, &len);
    }
    json_t *string = is_good ? json_stringn_nocheck(text, len) : NULL;
    free(text);
    if (!is_good)
        return false;
    *content = string == NULL ? (struct fg_span){NULL, 0} : fg_completion_hold(parse, string);
    json_decref(string);
    return content->data != NULL || reject_memory(parse);
}
