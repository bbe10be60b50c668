/*
 * environment.h: ${NAME} and ${NAME:-default} in values, so that secrets stay out of the file.
 * Thread   start-up or reload only: the environment is read.
 */
#ifndef FG_CONFIG_ENVIRONMENT_H
#define FG_CONFIG_ENVIRONMENT_H

#include "base/arena.h"
#include "base/span.h"

#define FG_ENVIRONMENT_VALUE_MAX ((size_t)65536)

enum fg_environment_result {
    FG_ENVIRONMENT_OK,
    FG_ENVIRONMENT_UNKNOWN,  /* the variable is not set and there is no default */
    FG_ENVIRONMENT_SYNTAX,   /* "${" without "}", or a name that is none */
    FG_ENVIRONMENT_TOO_LONG, /* the value would pass FG_ENVIRONMENT_VALUE_MAX */
    FG_ENVIRONMENT_NO_MEMORY,
};

/*
 * Expand `text` into the arena (NUL-terminated; `text` itself when there is nothing to expand).
 * "$${" stands for a plain "${". Values are not expanded again. On UNKNOWN and SYNTAX *culprit is
 * the name, or the part that is wrong, inside `text`.
 */
enum fg_environment_result fg_environment_expand(struct fg_arena *arena, struct fg_span text,
                                                 struct fg_span *expanded, struct fg_span *culprit);

#endif
