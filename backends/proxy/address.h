/*
 * address.h: an endpoint's text, taken apart and turned into hosts.
 * Thread   start-up, helper threads, the resolver's loop; pure but for fg_endpoint_lookup.
 */
#ifndef FG_PROXY_ADDRESS_H
#define FG_PROXY_ADDRESS_H

#include "proxy/cluster_conf.h"
#include "proxy/hosts_shared.h"

#define FG_ADDRESSES_MAX 64u /* of one name */

/* What an endpoint is called. */
struct fg_endpoint_target {
    const char *text; /* as configured */
    char host[256];   /* without brackets; empty for a unix socket */
    uint16_t port;
    bool is_unix;
    bool is_name; /* to be looked up, again and again */
    uint32_t weight;
    uint32_t priority;
    struct fg_address address; /* unless is_name */
};

/* False with `error` set when the address is none. Looks nothing up; keeps conf->address. */
FG_MUST_USE bool fg_endpoint_target_init(struct fg_endpoint_target *target,
                                         const struct fg_endpoint_conf *conf,
                                         struct fg_error *error);

/* Can a server be there? Not at "any" (a connect to it is one to ourselves), multicast or
 * broadcast. */
bool fg_address_is_of_host(const struct fg_address *address);

/* The system's own lookup (hosts file, DNS); may block. Returns how many addresses it found. */
size_t fg_endpoint_lookup(const struct fg_endpoint_target *target,
                          struct fg_address addresses[FG_ADDRESSES_MAX]);

/* The host that `target` is at `address`. */
void fg_endpoint_spec(const struct fg_endpoint_target *target, const struct fg_address *address,
                      struct fg_host_spec *spec);

#endif
