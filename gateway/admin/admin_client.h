/*
 * admin_client.h: asks a running gateway's admin listener, for commands of the same program.
 * Thread   any; blocks, for at most some seconds. Memory: the answer, bounded.
 */
#ifndef FG_ADMIN_CLIENT_H
#define FG_ADMIN_CLIENT_H

#include "base/status.h"

#include <jansson.h>

/*
 * GET `path` at `address` (host:port, numeric; as admin.address) and parse the JSON. The caller
 * owns *out. FG_ERR_NOT_FOUND: a 404. On other failures `error` says what a person could do.
 */
FG_MUST_USE enum fg_status fg_admin_get(const char *address, const char *path, json_t **out,
                                        struct fg_error *error);

/* The same with POST, and no body. */
FG_MUST_USE enum fg_status fg_admin_post(const char *address, const char *path, json_t **out,
                                         struct fg_error *error);

#endif
