/*
 * redis_address.h: where Redis is, for the configuration's embedded or external one.
 * Thread   any; plain values.
 */
#ifndef FG_REDIS_ADDRESS_H
#define FG_REDIS_ADDRESS_H

#include "base/status.h"
#include "redis/redis_conf.h"

#include <sys/un.h>

struct fg_redis_address {
    bool is_unix;
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)]; /* is_unix */
    char host[256];                                            /* name or IP address */
    uint16_t port;
};

/*
 * The address in effect: {directory}/redis.sock of the embedded one, or `address`. FG_ERR_CONFIG
 * with `error` set when it is malformed or the path too long for a unix socket.
 */
FG_MUST_USE enum fg_status fg_redis_address(const struct fg_redis_conf *conf,
                                            struct fg_redis_address *address,
                                            struct fg_error *error);

/* "unix:/path" or "host:port" for logs; returns `text`. */
const char *fg_redis_address_text(const struct fg_redis_address *address, char *text,
                                  size_t text_bytes);

#endif
