/*
 * lease_client.h: a loop's questions to the shared count of global rate limits.
 * Job      put a question on the loop's link, and bring the answer to the rate table.
 * Thread   one event loop; the tables are shared.
 * Memory   one question for each command in flight, kept for reuse: bounded by the link.
 * Never    lets a request wait: it was decided before.
 */
#ifndef FG_PIPELINE_LEASE_CLIENT_H
#define FG_PIPELINE_LEASE_CLIENT_H

#include "pipeline/rate_table_shared.h"
#include "state/shared_state.h"

struct fg_lease_client;

/* Adds the script to the state; its number is for create. Before any link is opened. */
unsigned fg_lease_client_add_script(struct fg_shared_state *state);

/* `link` and what `prefix` names outlive the client. NULL: no memory. */
struct fg_lease_client *fg_lease_client_create(struct fg_redis_link *link, unsigned script,
                                               const char *prefix);
/* Before the link closes; answers on their way find nobody. NULL is fine. */
void fg_lease_client_destroy(struct fg_lease_client *client);

/* Under which all gateways know keys: it names them, and chooses no place in a table. */
extern const struct fg_siphash_key fg_lease_naming;

/*
 * Put `question`, which fg_rate_table_try_take said is due for `key`. `name` is the same key under
 * fg_lease_naming. The table hears what became of it, here or later.
 */
void fg_lease_client_ask(struct fg_lease_client *client, struct fg_rate_table *table,
                         struct fg_limit_key key, struct fg_limit_key name,
                         const struct fg_lease_question *question);

#endif
