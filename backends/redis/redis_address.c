/*
 * redis_address.c: "unix:/path", "host:port", "[v6]:port", or the embedded server's socket.
 */
#include "redis_address.h"

#include "base/span.h"

#include <stdio.h>

#define SOCKET_NAME "/redis.sock"
#define PORT_DEFAULT 6379

static enum fg_status set_path(struct fg_redis_address *address, const char *directory,
                               const char *name, struct fg_error *error)
{
    size_t len = strlen(directory) + strlen(name);
    if (len >= sizeof(address->path))
        return fg_error_set(error,
                            "the path of the Redis socket, %s%s, has %zu bytes; expected at most "
                            "%zu, the limit of a unix socket",
                            directory, name, len, sizeof(address->path) - 1);
    address->is_unix = true;
    snprintf(address->path, sizeof(address->path), "%s%s", directory, name);
    return FG_OK;
}

static enum fg_status set_host(struct fg_redis_address *address, const char *text,
                               struct fg_error *error)
{
    struct fg_span host = fg_span_from_string(text);
    uint64_t port = PORT_DEFAULT;
    const char *colon = strrchr(text, ':');
    const char *bracket = strrchr(text, ']');
    if (colon != NULL && (bracket == NULL || colon > bracket)) {
        host.len = (size_t)(colon - text);
        if (!fg_span_parse_u64(fg_span_from_string(colon + 1), &port))
            port = 0;
    }
    if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
        host = fg_span_make(host.data + 1, host.len - 2);
    if (host.len == 0 || host.len >= sizeof(address->host) || port == 0 || port > 65535)
        return fg_error_set(error,
                            "the Redis address %s is malformed; expected host:port or "
                            "unix:/path",
                            text);
    memcpy(address->host, host.data, host.len);
    address->host[host.len] = '\0';
    address->port = (uint16_t)port;
    return FG_OK;
}

enum fg_status fg_redis_address(const struct fg_redis_conf *conf, struct fg_redis_address *address,
                                struct fg_error *error)
{
    memset(address, 0, sizeof(*address));
    if (conf->embedded) {
        if (conf->directory == NULL || conf->directory[0] == '\0')
            return fg_error_set(error, "the embedded Redis has no directory; expected one for its "
                                       "data and its socket");
        return set_path(address, conf->directory, SOCKET_NAME, error);
    }
    if (conf->address == NULL || conf->address[0] == '\0')
        return fg_error_set(error, "no Redis address; expected host:port or unix:/path");
    if (strncmp(conf->address, "unix:", 5) == 0)
        return set_path(address, conf->address + 5, "", error);
    return set_host(address, conf->address, error);
}

const char *fg_redis_address_text(const struct fg_redis_address *address, char *text,
                                  size_t text_bytes)
{
    if (address->is_unix)
        snprintf(text, text_bytes, "unix:%s", address->path);
    else
        snprintf(text, text_bytes, "%s:%u", address->host, (unsigned)address->port);
    return text;
}
