/*
 * status.c: names of operating errors, and the one form in which start-up errors are printed.
 */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>

const char *fg_status_name(enum fg_status status)
{
    switch (status) {
    case FG_OK:
        return "ok";
    case FG_ERR_SYSTEM:
        return "system";
    case FG_ERR_NO_MEMORY:
        return "no_memory";
    case FG_ERR_LIMIT:
        return "limit";
    case FG_ERR_INVALID:
        return "invalid";
    case FG_ERR_UNSUPPORTED:
        return "unsupported";
    case FG_ERR_NOT_FOUND:
        return "not_found";
    case FG_ERR_CLOSED:
        return "closed";
    case FG_ERR_TIMEOUT:
        return "timeout";
    case FG_ERR_BUSY:
        return "busy";
    case FG_ERR_CONFIG:
        return "config";
    }
    return "unknown";
}

enum fg_status fg_error_set(struct fg_error *error, const char *fmt, ...)
{
    if (error != NULL) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(error->message, sizeof(error->message), fmt, args);
        va_end(args);
    }
    return FG_ERR_CONFIG;
}

int fg_error_format(const struct fg_error *error, char *text, size_t text_bytes)
{
    if (error->file[0] == '\0')
        return snprintf(text, text_bytes, "%s", error->message);
    if (error->line == 0)
        return snprintf(text, text_bytes, "%s: %s", error->file, error->message);
    return snprintf(text, text_bytes, "%s:%u:%u: %s", error->file, error->line, error->column,
                    error->message);
}
