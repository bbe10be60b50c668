/*
 * shared_state.h: the Redis through which several gateways share what their policies count.
 * Job      one link to it a loop (redis/redis_link.h), with the scripts of all who use it, and one
 *          figure of how it is for /stats.
 * Thread   made before the loops start; a link belongs to its loop. Figures: any thread.
 * Never    the only way on: who uses it must have an answer without it, if it is a refusal.
 *
 *    create -> add_script, once for each -> open, on every loop -> submit ... -> close -> destroy
 */
#ifndef FG_STATE_SHARED_STATE_H
#define FG_STATE_SHARED_STATE_H

#include "config/config.h"
#include "redis/redis_link.h"

struct fg_shared_state;

#define FG_SHARED_STATE_SCRIPTS_MAX 8

/* `conf` outlives it. NULL with `error` set: the address is malformed, or no memory. */
struct fg_shared_state *fg_shared_state_create(const struct fg_shared_state_conf *conf,
                                               unsigned thread_count, struct fg_error *error);
/* Every link closed; NULL is fine. */
void fg_shared_state_destroy(struct fg_shared_state *state);

/*
 * Before the first link is opened: a Lua script that every link then loads. `source` (with a NUL
 * behind its `len` bytes) outlives the state. Returns its number, for fg_redis_request.script.
 */
unsigned fg_shared_state_add_script(struct fg_shared_state *state, const char *source, size_t len);

/*
 * What every key begins with. Put what belongs together into braces behind it, so that a cluster
 * keeps it on one node: "PREFIX:rate:{NAME}".
 */
const char *fg_shared_state_prefix(const struct fg_shared_state *state);

/* The loop's link, which begins to connect. Freed by close. NULL: no memory. */
struct fg_redis_link *fg_shared_state_open(struct fg_shared_state *state,
                                           const struct fg_backend_env *env);
/* Every command detached; NULL is fine. */
void fg_shared_state_close(struct fg_redis_link *link);

/* Figures of all links together; the caller's. */
json_t *fg_shared_state_stats(const struct fg_shared_state *state);

#endif
