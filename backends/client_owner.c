/*
 * client_owner.c: whose something is, by the client's address.
 */
#include "backends/client_owner.h"

#include "base/cidr.h"

#define NETWORK_BYTES 8u /* of IPv6: a client has all of its /64 */

uint64_t fg_client_owner(const struct fg_siphash_key *key, struct fg_span client_addr)
{
    struct fg_ip ip;
    if (!fg_ip_parse(client_addr, &ip))
        return 0;
    size_t len = fg_ip_is_v4(&ip) ? sizeof(ip.bytes) : NETWORK_BYTES;
    uint64_t hash = fg_siphash(key, ip.bytes, len);
    return hash == 0 ? 1 : hash;
}
