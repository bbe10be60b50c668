/*
 * client_owner.c: whose something is, by the client's address.
 */
#include "backends/client_owner.h"

#define NETWORK_BYTES 8u /* of IPv6: a client has all of its /64 */

struct fg_span fg_client_network(struct fg_span client_addr, struct fg_ip *ip)
{
    if (!fg_ip_parse(client_addr, ip))
        return fg_span_make(NULL, 0);
    return fg_span_make((const char *)ip->bytes,
                        fg_ip_is_v4(ip) ? sizeof(ip->bytes) : NETWORK_BYTES);
}

uint64_t fg_client_owner(const struct fg_siphash_key *key, struct fg_span client_addr)
{
    struct fg_ip ip;
    struct fg_span network = fg_client_network(client_addr, &ip);
    if (network.len == 0)
        return 0;
    uint64_t hash = fg_siphash(key, network.data, network.len);
    return hash == 0 ? 1 : hash;
}
