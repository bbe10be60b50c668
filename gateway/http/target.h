/*
 * target.h: the request target, taken apart and normalised once; nothing behind it decodes again.
 * Job      "/a//b/../%7Euser?q" becomes path "/a/~user", query "q".
 *          - %XX of unreserved characters is decoded, other escapes stay, in upper case
 *          - "." and ".." segments are resolved, runs of slashes become one
 *          - refused: a backslash, raw bytes outside ASCII, a broken escape, escaped controls, ".."
 *            above the root, '#'; and %2f, %5c, %00 and overlong UTF-8 (%c0%af is another '/' to
 *            decoders that take it) unless the configuration keeps them as they are
 * Thread   any; pure but for the memory.
 * Source   RFC 3986 sections 5.2.4 and 6.2.2; RFC 9112 section 3.2;
 *          RFC 3629 section 10 for overlong forms.
 */
#ifndef FG_HTTP_TARGET_H
#define FG_HTTP_TARGET_H

#include "backends/backend.h"

struct fg_target {
    struct fg_span path;      /* starts with '/', or is "*" */
    struct fg_span query;     /* raw, without '?'; data NULL when there was none */
    struct fg_span scheme;    /* of the absolute form; otherwise data NULL */
    struct fg_span authority; /* of the absolute form; otherwise data NULL */
};

/* Escapes that stay in the path, undecoded, instead of being refused; bits. */
#define FG_TARGET_KEEP_SLASH 1u    /* %2F and %5C */
#define FG_TARGET_KEEP_NUL 2u      /* %00 */
#define FG_TARGET_KEEP_OVERLONG 4u /* %C0%AF and all such */

/*
 * FG_OK; FG_ERR_INVALID: 400; FG_ERR_NO_MEMORY. `raw` must live as long as *target: the query, and
 * a path that was normal already, point into it.
 */
FG_MUST_USE enum fg_status fg_target_parse(struct fg_span raw, enum fg_method method, unsigned kept,
                                           struct fg_arena *arena, struct fg_target *target);

#endif
