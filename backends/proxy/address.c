/*
 * address.c: "host:port", "[v6]:port" and "unix:/path" as socket addresses.
 */
#include "proxy/address.h"

#include "base/span.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static bool set_unix(struct fg_endpoint_target *target, const char *path)
{
    struct sockaddr_un *address = (struct sockaddr_un *)&target->address.storage;
    size_t len = strlen(path);
    if (len < 2 || path[0] != '/' || len >= sizeof(address->sun_path))
        return false;
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, len + 1);
    target->address.len = sizeof(*address);
    target->is_unix = true;
    return true;
}

static bool set_numeric(struct fg_endpoint_target *target)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&target->address.storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&target->address.storage;
    if (inet_pton(AF_INET, target->host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(target->port);
        target->address.len = sizeof(*v4);
        return true;
    }
    if (inet_pton(AF_INET6, target->host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(target->port);
        target->address.len = sizeof(*v6);
        return true;
    }
    return false;
}

/* "host:port" or "[v6]:port". */
static bool split_host_port(struct fg_endpoint_target *target, const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port = 0;
    if (colon == NULL || !fg_span_parse_u64(fg_span_from_string(colon + 1), &port) || port == 0 ||
        port > 65535)
        return false;
    struct fg_span host = fg_span_make(text, (size_t)(colon - text));
    if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
        host = fg_span_make(host.data + 1, host.len - 2);
    else if (memchr(host.data, ':', host.len) != NULL)
        return false;
    if (host.len == 0 || host.len >= sizeof(target->host))
        return false;
    memcpy(target->host, host.data, host.len);
    target->host[host.len] = '\0';
    target->port = (uint16_t)port;
    return true;
}

bool fg_endpoint_target_init(struct fg_endpoint_target *target, const struct fg_endpoint_conf *conf,
                             struct fg_error *error)
{
    const char *text = conf->address;
    *target = (struct fg_endpoint_target){
        .text = text, .weight = conf->weight, .priority = conf->priority};
    if (strncmp(text, "unix:", 5) == 0 ? !set_unix(target, text + 5)
                                       : !split_host_port(target, text)) {
        (void)fg_error_set(error,
                           "endpoint \"%s\" is no address; expected host:port, [IPv6]:port or "
                           "unix:/path",
                           text);
        return false;
    }
    target->is_name = !target->is_unix && !set_numeric(target);
    return true;
}

static bool is_v4_host(uint32_t address)
{
    return address != INADDR_ANY && address != INADDR_BROADCAST && !IN_MULTICAST(address);
}

bool fg_address_is_of_host(const struct fg_address *address)
{
    const struct sockaddr *any = (const struct sockaddr *)&address->storage;
    if (any->sa_family == AF_INET)
        return is_v4_host(ntohl(((const struct sockaddr_in *)(const void *)any)->sin_addr.s_addr));
    if (any->sa_family != AF_INET6)
        return false;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)any)->sin6_addr;
    uint32_t last;
    memcpy(&last, v6->s6_addr + 12, sizeof(last));
    if (IN6_IS_ADDR_V4MAPPED(v6))
        return is_v4_host(ntohl(last));
    return !IN6_IS_ADDR_UNSPECIFIED(v6) && !IN6_IS_ADDR_MULTICAST(v6);
}

size_t fg_endpoint_lookup(const struct fg_endpoint_target *target,
                          struct fg_address addresses[FG_ADDRESSES_MAX])
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    size_t count = 0;
    char port[8];
    snprintf(port, sizeof(port), "%u", (unsigned)target->port);
    if (getaddrinfo(target->host, port, &hints, &found) != 0)
        return 0;
    for (struct addrinfo *it = found; it != NULL && count < FG_ADDRESSES_MAX; it = it->ai_next) {
        if (it->ai_addrlen > sizeof(addresses[0].storage))
            continue;
        memset(&addresses[count], 0, sizeof(addresses[count]));
        memcpy(&addresses[count].storage, it->ai_addr, it->ai_addrlen);
        addresses[count].len = it->ai_addrlen;
        count += fg_address_is_of_host(&addresses[count]);
    }
    freeaddrinfo(found);
    return count;
}

void fg_endpoint_spec(const struct fg_endpoint_target *target, const struct fg_address *address,
                      struct fg_host_spec *spec)
{
    *spec = (struct fg_host_spec){
        .address = *address, .weight = target->weight, .priority = target->priority};
    memcpy(spec->server_name, target->host, sizeof(spec->server_name));
    if (!target->is_name) {
        snprintf(spec->name, sizeof(spec->name), "%s", target->text);
        return;
    }
    char numeric[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr *any = (const struct sockaddr *)&address->storage;
    if (any->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)any)->sin_addr, numeric,
                  sizeof(numeric));
    else
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)any)->sin6_addr, numeric,
                  sizeof(numeric));
    snprintf(spec->name, sizeof(spec->name), "%s (%s)", target->text, numeric);
}
