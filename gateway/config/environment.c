/*
 * environment.c: one pass that measures and one that writes, so that the result is allocated once
 * and its size is checked before.
 */
#include "config/environment.h"

#include <stdlib.h>

static bool is_name(struct fg_span name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool is_letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!is_letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return name.len > 0;
}

/* What stands for the reference "NAME" or "NAME:-default" between the braces. */
static enum fg_environment_result resolve(struct fg_span inner, struct fg_span *value,
                                          struct fg_span *culprit)
{
    struct fg_span name = inner;
    struct fg_span fallback = {NULL, 0};
    for (size_t i = 0; i + 1 < inner.len; i++) {
        if (inner.data[i] == ':' && inner.data[i + 1] == '-') {
            name.len = i;
            fallback = fg_span_make(inner.data + i + 2, inner.len - i - 2);
            break;
        }
    }
    *culprit = inner;
    char text[256];
    if (!is_name(name) || name.len >= sizeof(text))
        return FG_ENVIRONMENT_SYNTAX;
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    const char *found = getenv(text);
    if (found != NULL) {
        *value = fg_span_from_string(found);
        return FG_ENVIRONMENT_OK;
    }
    if (fallback.data == NULL) {
        *culprit = name;
        return FG_ENVIRONMENT_UNKNOWN;
    }
    *value = fallback;
    return FG_ENVIRONMENT_OK;
}

static bool starts_reference(struct fg_span text, size_t at)
{
    return at + 1 < text.len && text.data[at] == '$' && text.data[at + 1] == '{';
}

/* Writes to `out` unless it is NULL; *len is the length of the result either way. */
static enum fg_environment_result expand_into(struct fg_span text, char *out, size_t *len,
                                              struct fg_span *culprit)
{
    *len = 0;
    for (size_t at = 0; at < text.len;) {
        struct fg_span piece = fg_span_make(text.data + at, 1);
        if (text.data[at] == '$' && starts_reference(text, at + 1)) {
            piece = FG_SPAN("${");
            at += 3;
        } else if (starts_reference(text, at)) {
            const char *end = memchr(text.data + at, '}', text.len - at);
            *culprit = fg_span_make(text.data + at, text.len - at);
            if (end == NULL)
                return FG_ENVIRONMENT_SYNTAX;
            size_t end_at = (size_t)(end - text.data);
            struct fg_span inner = fg_span_make(text.data + at + 2, end_at - at - 2);
            enum fg_environment_result result = resolve(inner, &piece, culprit);
            if (result != FG_ENVIRONMENT_OK)
                return result;
            at = end_at + 1;
        } else {
            at++;
        }
        if (piece.len > FG_ENVIRONMENT_VALUE_MAX - *len)
            return FG_ENVIRONMENT_TOO_LONG;
        if (out != NULL && piece.len > 0)
            memcpy(out + *len, piece.data, piece.len);
        *len += piece.len;
    }
    return FG_ENVIRONMENT_OK;
}

enum fg_environment_result fg_environment_expand(struct fg_arena *arena, struct fg_span text,
                                                 struct fg_span *expanded, struct fg_span *culprit)
{
    *expanded = text;
    if (text.len < 3 || memmem(text.data, text.len, "${", 2) == NULL)
        return FG_ENVIRONMENT_OK;
    size_t len = 0;
    enum fg_environment_result result = expand_into(text, NULL, &len, culprit);
    if (result != FG_ENVIRONMENT_OK)
        return result;
    char *out = fg_arena_try_alloc(arena, len + 1);
    if (out == NULL)
        return FG_ENVIRONMENT_NO_MEMORY;
    result = expand_into(text, out, &len, culprit);
    out[len] = '\0';
    *expanded = fg_span_make(out, len);
    return result;
}
