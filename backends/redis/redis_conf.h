/*
 * redis_conf.h: what the configuration says about a Redis, ours or the user's. Filled by
 * gateway/config; strings belong to the configuration snapshot.
 */
#ifndef FG_REDIS_CONF_H
#define FG_REDIS_CONF_H

#include <stdbool.h>
#include <stdint.h>

struct fg_redis_conf {
    bool embedded;             /* the supervisor runs a redis-server of our own */
    const char *directory;     /* embedded: where its AOF and socket live */
    const char *address;       /* external: "host:port" or "unix:/path" */
    const char *username;      /* external, may be NULL */
    const char *password;      /* external, may be NULL; never logged */
    uint64_t max_memory_bytes; /* embedded: maxmemory, with noeviction */
    uint64_t connect_timeout_ns;
    uint64_t command_timeout_ns;
    uint32_t commands_in_flight_max; /* a gateway thread; one more is refused */
};

#endif
