/*
 * orders_conf.h: what the configuration says about Redis and the promotion. Filled by
 * gateway/config; strings belong to the configuration snapshot.
 */
#ifndef FG_ORDERS_CONF_H
#define FG_ORDERS_CONF_H

#include "redis/redis_conf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fg_durability {
    FG_DURABILITY_MEMORY, /* acknowledged when Redis has run the script */
    FG_DURABILITY_AOF,    /* embedded Redis runs with appendfsync always; an external one is
                             checked for it at connect and the mismatch logged */
};

struct fg_sku_conf {
    const char *sku;
    uint64_t stock; /* set once, when Redis has no figure for this SKU of the campaign yet */
};

struct fg_orders_conf {
    struct fg_redis_conf redis;
    enum fg_durability durability;
    const char *campaign; /* name of the running campaign */
    const struct fg_sku_conf *skus;
    size_t sku_count;
    uint64_t quantity_max;       /* of one order */
    bool coupon_required;        /* an order must name a coupon */
    uint64_t idempotency_ttl_ns; /* how long an Idempotency-Key is remembered */
    uint64_t session_ttl_ns;     /* lifetime of a guest's token */
    uint64_t body_bytes_max;
    uint64_t body_values_max;        /* of JSON */
    uint32_t event_streams_permille; /* of a loop's, that one address may have when they are few */
    uint64_t orders_per_user_max;    /* in GET /api/me; older ones are cut from the list */
    uint32_t fulfil_workers;   /* processes that carry orders from accepted to completed; 0: none */
    uint64_t confirm_after_ns; /* how long the merchant takes to confirm ... */
    uint64_t complete_after_ns; /* ... and from then to hand over the drink */
};

#endif
