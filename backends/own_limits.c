/*
 * own_limits.c: see own_limits.h. Each names the limit, so that it is counted, logged and explained
 * as a refusal of the gateway's own.
 */
#include "backends/own_limits.h"

#include <sys/resource.h>

#define RETRY_MS 1000

void fg_refuse_for_descriptors(struct fg_exchange *ex)
{
    struct rlimit files = {0};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    fg_exchange_refuse(ex, &(struct fg_backend_refusal){
                               .status = 503,
                               .type = "overloaded",
                               .code = "backend_busy",
                               .message = "the gateway has no descriptor left for the request",
                               .policy = "descriptors",
                               .value = files.rlim_cur,
                               .limit = files.rlim_cur,
                               .retry_after_ms = RETRY_MS,
                           });
}

void fg_refuse_for_helpers(struct fg_exchange *ex, const struct fg_helper_pool *pool)
{
    const uint64_t most = fg_helper_pool_jobs_max(pool);
    fg_exchange_refuse(
        ex, &(struct fg_backend_refusal){
                .status = 503,
                .type = "overloaded",
                .code = "backend_busy",
                .message = "as many jobs as may (limits.helper_jobs_max) wait for helper threads",
                .policy = "helper_jobs",
                .value = most,
                .limit = most,
                .retry_after_ms = RETRY_MS,
            });
}

void fg_refuse_for_unread(struct fg_exchange *ex, uint32_t held, uint32_t share)
{
    fg_exchange_refuse(
        ex, &(struct fg_backend_refusal){
                .status = 503,
                .type = "overloaded",
                .code = "unread_answers",
                .message = "connections are short, and the client leaves too many answers unread",
                .policy = "slow_reader_share",
                .value = held,
                .limit = share,
                .retry_after_ms = RETRY_MS,
                .was_not_asked = true,
            });
}
