/*
 * retry_budget.h: how many retries may be in flight beside first attempts.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_RETRY_BUDGET_H
#define FG_POLICIES_RETRY_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct fg_retry_budget {
    uint32_t ratio_permille; /* retries allowed as a share of active requests, 0-1000 */
    uint32_t min_retries;    /* allowed however few are active */
    uint32_t in_flight;
    uint64_t granted_total;
    uint64_t refused_total;
};

/* Usual: 200 and 3 (Envoy's defaults). 0 and 0 forbid retries. */
void fg_retry_budget_init(struct fg_retry_budget *rb, uint32_t ratio_permille,
                          uint32_t min_retries);

/*
 * `active` counts requests to the cluster in flight and waiting, without this retry.
 * `is_shedding`: we refuse work for overload, so no retry is allowed. True: release it at its end.
 */
bool fg_retry_budget_try_acquire(struct fg_retry_budget *rb, uint64_t active, bool is_shedding);

void fg_retry_budget_release(struct fg_retry_budget *rb);

/* The backend's gate refused somebody at `shed_at_ns` (0: never): too lately for retries? */
bool fg_retry_budget_is_shedding(uint64_t shed_at_ns, uint64_t now_ns);

/* Retries that may be in flight with so many active requests. */
uint64_t fg_retry_budget_limit(const struct fg_retry_budget *rb, uint64_t active, bool is_shedding);

#endif
