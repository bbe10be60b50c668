/*
 * schema_orders.c: the tables of the order path: Redis, articles, fulfilment.
 */
#include "config/raw.h"
#include "config/schema.h"
#include "config/schema_gates.h"

#define AT(type, member) (uint32_t) offsetof(struct type, member)
#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define MINUTE (60 * S)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define L(member) AT(fg_redis_conf, member)
static const struct fg_key redis_keys[] = {
    {.name = "embedded",
     .type = FG_KEY_BOOL,
     .offset = L(embedded),
     .derived = "true, false with an `address`",
     .doc = "Run a redis-server of our own, on a unix socket."},
    {.name = "directory",
     .type = FG_KEY_PATH,
     .offset = L(directory),
     .initial = "redis",
     .check = fg_text_check_not_empty,
     .doc = "Embedded: where its data and its socket are kept."},
    {.name = "address",
     .type = FG_KEY_STRING,
     .offset = L(address),
     .check = fg_text_check_upstream_address,
     .doc = "External: `host:port` or `unix:/path`."},
    {.name = "username",
     .type = FG_KEY_STRING,
     .offset = L(username),
     .check = fg_text_check_not_empty,
     .doc = "External: user of its access list (ACL)."},
    {.name = "password",
     .type = FG_KEY_STRING,
     .offset = L(password),
     .is_secret = true,
     .doc = "External: write `${REDIS_PASSWORD}` and keep the secret in the environment."},
    {.name = "memory_max",
     .type = FG_KEY_SIZE,
     .offset = L(max_memory_bytes),
     .initial = "256MiB",
     .min = 4 * MIB,
     .max = 1024 * GIB,
     .doc = "Embedded: its `maxmemory`. Nothing is evicted: a full store refuses new orders."},
    {.name = "connect_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(connect_timeout_ns),
     .initial = "1s",
     .min = 1 * MS,
     .max = 1 * MINUTE,
     .doc = "For one attempt."},
    {.name = "command_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(command_timeout_ns),
     .initial = "2s",
     .min = 1 * MS,
     .max = 1 * MINUTE,
     .doc = "For one command; later is answered 503 and the connection made anew."},
    {.name = "commands_in_flight_max",
     .type = FG_KEY_U32,
     .offset = L(commands_in_flight_max),
     .initial = "4096",
     .min = 1,
     .max = 1000000,
     .doc = "Commands without a reply, a thread; one more is answered 503."},
    {.name = NULL},
};
#undef L

static const struct fg_table redis_table = {
    .path = "orders.redis",
    .doc = "Where orders are kept: a Redis of our own (the default), or yours by `address`.",
    .keys = redis_keys,
    .bytes = sizeof(struct fg_redis_conf),
    .example = "{address: \"redis.internal:6379\"}",
};

static const struct fg_key sku_keys[] = {
    {.name = "stock",
     .type = FG_KEY_U64,
     .offset = AT(fg_raw_sku, conf.stock),
     .is_required = true,
     .min = 0,
     .max = UINT64_C(1000000000000),
     .doc = "Pieces to sell. Written once, when Redis has no figure for it yet."},
    {.name = NULL},
};

static const struct fg_table sku_table = {
    .path = "orders.skus.NAME",
    .doc = "An article. The stock alone may stand in place of the mapping.",
    .keys = sku_keys,
    .bytes = sizeof(struct fg_raw_sku),
    .name_offset = AT(fg_raw_sku, conf.sku),
    .node_offset = AT(fg_raw_sku, node),
    .shorthand = "stock",
    .example = "{stock: 100000}",
};

#define L(member) AT(fg_orders_conf, member)
static const struct fg_key fulfil_keys[] = {
    {.name = "workers",
     .type = FG_KEY_U32,
     .offset = L(fulfil_workers),
     .initial = "1",
     .zero_word = "off",
     .takes_zero = true,
     .min = 1,
     .max = 64,
     .doc = "Processes; `off` leaves orders at `accepted` for a consumer of your own."},
    {.name = "confirm_after",
     .type = FG_KEY_DURATION,
     .offset = L(confirm_after_ns),
     .initial = "0s",
     .min = 0,
     .max = 30 * DAY,
     .doc = "How long the merchant takes to confirm an order."},
    {.name = "complete_after",
     .type = FG_KEY_DURATION,
     .offset = L(complete_after_ns),
     .initial = "0s",
     .min = 0,
     .max = 30 * DAY,
     .doc = "And from then on to hand it over."},
    {.name = NULL},
};
#undef L

static const struct fg_table fulfil_table = {
    .path = "orders.fulfil",
    .doc = "Who carries orders from `accepted` over `confirmed` to `completed`.",
    .keys = fulfil_keys,
    .bytes = sizeof(struct fg_orders_conf),
    .example = "{workers: 1}",
};

static const struct fg_choice durabilities[] = {
    {"memory", FG_DURABILITY_MEMORY},
    {"aof", FG_DURABILITY_AOF},
    {NULL, 0},
};

#define L(member) AT(fg_raw_orders, conf.member)
static const struct fg_key orders_keys[] = {
    {.name = "redis",
     .type = FG_KEY_OBJECT,
     .offset = L(redis),
     .table = &redis_table,
     .doc = "Where orders are kept."},
    {.name = "durability",
     .type = FG_KEY_ENUM,
     .offset = L(durability),
     .initial = "aof",
     .choices = durabilities,
     .doc = "When an order is acknowledged: in Redis's `memory`, or in its append-only file on "
            "disk (`aof`)."},
    {.name = "campaign",
     .type = FG_KEY_STRING,
     .offset = L(campaign),
     .initial = "default",
     .check = fg_text_check_name,
     .doc = "Name of the running promotion; coupons, invites and stock belong to it."},
    {.name = "skus",
     .type = FG_KEY_MAP,
     .offset = AT(fg_raw_orders, skus),
     .count_offset = AT(fg_raw_orders, sku_count),
     .table = &sku_table,
     .check = fg_text_check_name,
     .max = 1000,
     .doc = "Articles that can be ordered, by name."},
    {.name = "quantity_max",
     .type = FG_KEY_U64,
     .offset = L(quantity_max),
     .initial = "10",
     .min = 1,
     .max = 1000000,
     .doc = "Pieces in one order."},
    {.name = "coupon_required",
     .type = FG_KEY_BOOL,
     .offset = L(coupon_required),
     .initial = "false",
     .doc = "An order must name a coupon."},
    {.name = "idempotency_ttl",
     .type = FG_KEY_DURATION,
     .offset = L(idempotency_ttl_ns),
     .initial = "1d",
     .min = 1 * S,
     .max = 30 * DAY,
     .doc = "How long an `Idempotency-Key` is remembered."},
    {.name = "body_max",
     .type = FG_KEY_SIZE,
     .offset = L(body_bytes_max),
     .initial = "16KiB",
     .min = 256,
     .max = 1 * MIB,
     .doc = "Request body; more is answered 413."},
    {.name = "body_values_max",
     .type = FG_KEY_U64,
     .offset = L(body_values_max),
     .initial = "256",
     .min = 8,
     .max = 1000000,
     .doc =
         "JSON values in the body of an order, a claim or `POST /api/session`, of which each takes "
         "0.2 us of an event loop; more are answered 413."},
    {.name = "event_streams_share",
     .type = FG_KEY_PERMILLE,
     .offset = L(event_streams_permille),
     .initial = "25%",
     .min = 1,
     .max = 1000,
     .doc = "Of the open streams of orders' events, of which a thread has "
            "`commands_in_flight_max`, what "
            "one client's address may have once half of them are in use; never fewer than 8."},
    {.name = "orders_per_user_max",
     .type = FG_KEY_U64,
     .offset = L(orders_per_user_max),
     .initial = "100",
     .min = 1,
     .max = 10000,
     .doc = "Newest orders in `GET /api/me`; older ones are found by their id."},
    {.name = "fulfil",
     .type = FG_KEY_OBJECT,
     .offset = AT(fg_raw_orders, conf),
     .table = &fulfil_table,
     .doc = "Who carries orders out."},
    FG_GATE_KEYS(FG_BACKEND_ORDERS, fg_raw_orders, backend.conf),
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_orders = {
    .path = "orders",
    .doc = "Coupons, invites and orders over Redis; a route leads there with `to: orders`.",
    .keys = orders_keys,
    .bytes = sizeof(struct fg_raw_orders),
    .example = "{skus: {milk-tea: {stock: 100000}}}",
};
