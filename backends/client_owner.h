/*
 * client_owner.h: whose something is, by the client's address.
 * Thread   any; pure.
 */
#ifndef FG_CLIENT_OWNER_H
#define FG_CLIENT_OWNER_H

#include "base/span.h"
#include "policies/siphash.h"

#include <stdint.h>

/* For policies/crowd: a keyed hash of the address, of an IPv6 client of its /64. 0: it is none. */
uint64_t fg_client_owner(const struct fg_siphash_key *key, struct fg_span client_addr);

#endif
