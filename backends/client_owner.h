/*
 * client_owner.h: whose something is, by the client's address.
 * Thread   any; pure.
 */
#ifndef FG_CLIENT_OWNER_H
#define FG_CLIENT_OWNER_H

#include "base/cidr.h"
#include "base/span.h"
#include "policies/siphash.h"

#include <stdint.h>

/* What a client cannot choose of its address: all of an IPv4 one, of IPv6 the /64; bytes in `ip`.
 * Empty: it is none. */
struct fg_span fg_client_network(struct fg_span client_addr, struct fg_ip *ip);

/* For policies/crowd: a keyed hash of that. 0: it is none. */
uint64_t fg_client_owner(const struct fg_siphash_key *key, struct fg_span client_addr);

#endif
