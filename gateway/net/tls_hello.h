/*
 * tls_hello.h: what a client's hello may have us compute.
 * Job      refuse one with more key shares or tickets than any client has: OpenSSL looks for the
 *          group of each share among all that the client knows, so that 16 KiB of both took 4 ms,
 *          and opens each ticket, or tries to, until one is good.
 * Thread   its callback runs on the loops, before any key is computed.
 * Source   RFC 8446 sections 4.2.8 (a client has one share a group) and 4.2.11.
 */
#ifndef FG_NET_TLS_HELLO_H
#define FG_NET_TLS_HELLO_H

#include <openssl/ssl.h>

/* Browsers send two or three of the one, and one of the other. */
#define FG_TLS_HELLO_SHARES_MAX 16u
#define FG_TLS_HELLO_TICKETS_MAX 16u

/* Hellos to connections of ctx are looked at. */
void fg_tls_hello_bound(SSL_CTX *ctx);

#endif
