/*
 * overload_shared.h: the process's pressure, sampled in one place, asked from every loop.
 * Protocol  one thread samples, updates policies/overload under the mutex and publishes the steps
 *           taken (backends/pressure_shared.h); a loop that acts on a step reads those alone, and
 *           asks the policy under the mutex only while requests or newcomers are refused.
 */
#ifndef FG_PIPELINE_OVERLOAD_SHARED_H
#define FG_PIPELINE_OVERLOAD_SHARED_H

#include "backends/pressure_shared.h"
#include "config/config.h"

#include "policies/siphash.h"

#include <jansson.h>

struct fg_overload_shared;

/* NULL without memory. `key` makes owners of addresses, as for requests (client_owner.h). */
struct fg_overload_shared *fg_overload_shared_create(const struct fg_config *config,
                                                     const struct fg_siphash_key *key);
void fg_overload_shared_destroy(struct fg_overload_shared *overload);

/*
 * Take and give up steps, log each that changes. `sample` has what loops and backends have in use;
 * what the system knows and limits that are configured are filled in here. Its descriptors stand
 * where the kernel does not count them. One thread, never a loop that serves clients, every
 * overload.interval_ns.
 */
void fg_overload_shared_sample(struct fg_overload_shared *overload, uint64_t now_ns,
                               struct fg_overload_sample *sample);

/* Any thread; `uses` and `owner` as for fg_overload_decide_for. While no step is taken all is
 * admitted, and the rest of the decision is zero. */
struct fg_overload_decision fg_overload_shared_decide(struct fg_overload_shared *overload,
                                                      enum fg_priority priority, uint32_t uses,
                                                      uint64_t owner);
/* No step is taken: all is admitted, whoever asks. */
bool fg_overload_shared_is_calm(const struct fg_overload_shared *overload);
/* What is taken now; all zero for ever in shadow. Lives as long as `overload`. */
struct fg_pressure *fg_overload_shared_pressure(struct fg_overload_shared *overload);
json_t *fg_overload_shared_stats(struct fg_overload_shared *overload);

#endif
