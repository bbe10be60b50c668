/*
 * redis_script.h: a Lua script as Redis gets it.
 * Thread   any; plain values.
 */
#ifndef FG_REDIS_SCRIPT_H
#define FG_REDIS_SCRIPT_H

#include <stddef.h>

#define FG_REDIS_SHA_BYTES 41 /* 40 hex digits and NUL */

struct fg_redis_script {
    const char *source; /* NUL-terminated */
    size_t source_len;
};

#endif
