/*
 * tls_hosts.h: which hosts a connection may ask for, by the certificates of its listener.
 * Job      what clients must show (rules) is settled in the handshake, for the name that it asked
 *          for. A request for a host under other rules has come by the wrong connection, and so has
 *          one that the connection's certificate does not stand for, where that matters.
 * Thread   built by the main thread, then read by any.
 * Source   RFC 9110 sections 7.4 and 15.5.20; RFC 9113 section 9.1.1 has clients reuse connections.
 */
#ifndef FG_NET_TLS_HOSTS_H
#define FG_NET_TLS_HOSTS_H

#include "net/tls_names.h"

#include <stdbool.h>

/* Zeroed is empty. */
struct fg_tls_hosts {
    struct fg_tls_names names;
    uint64_t default_having; /* of who asks for no name, or for one that nobody has */
    bool has_rules;          /* they are not the same for all names */
    uint8_t rules[FG_TLS_CERTIFICATES_MAX]; /* of each certificate; certificates of one name have
                                               the same, and the first has 0 */
};

/* The rules that go with certificates, as fg_tls_names_find gives them. */
uint8_t fg_tls_hosts_rules(const struct fg_tls_hosts *hosts, uint64_t having);

/* May a connection under `rules` be asked for `host`? */
bool fg_tls_hosts_allow(const struct fg_tls_hosts *hosts, uint8_t rules, struct fg_span host);

/* Is `host` in one of the certificates that who asks for `server_name` (empty: for none) gets? */
bool fg_tls_hosts_cover(const struct fg_tls_hosts *hosts, struct fg_span server_name,
                        struct fg_span host);

/* The host of an authority: without its port, and without brackets where it is an IPv6 address. */
struct fg_span fg_tls_host_of(struct fg_span authority);

#endif
