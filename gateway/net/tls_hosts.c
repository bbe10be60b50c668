/*
 * tls_hosts.c: see tls_hosts.h.
 */
#include "net/tls_hosts.h"

uint8_t fg_tls_hosts_rules(const struct fg_tls_hosts *hosts, uint64_t having)
{
    return having == 0 ? 0 : hosts->rules[__builtin_ctzll(having)];
}

bool fg_tls_hosts_allow(const struct fg_tls_hosts *hosts, uint8_t rules, struct fg_span host)
{
    return !hosts->has_rules ||
           fg_tls_hosts_rules(hosts, fg_tls_names_find(&hosts->names, host)) == rules;
}

bool fg_tls_hosts_cover(const struct fg_tls_hosts *hosts, struct fg_span server_name,
                        struct fg_span host)
{
    uint64_t shown = fg_tls_names_find(&hosts->names, server_name);
    if (shown == 0)
        shown = hosts->default_having;
    return (fg_tls_names_covering(&hosts->names, host) & shown) != 0;
}

struct fg_span fg_tls_host_of(struct fg_span authority)
{
    struct fg_span rest = authority;
    if (authority.len == 0 || authority.data[0] != '[')
        return fg_span_split(&rest, ':');
    rest.data++;
    rest.len--;
    return fg_span_split(&rest, ']');
}
