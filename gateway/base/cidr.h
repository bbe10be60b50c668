/*
 * cidr.h: IP addresses and networks as values: from text, back, and is one in the other.
 * Thread   any; pure.
 * An IPv4 address is its IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2), so that one
 * comparison serves both, whichever sort of socket an address came from.
 */
#ifndef FG_BASE_CIDR_H
#define FG_BASE_CIDR_H

#include "span.h"

#include <sys/socket.h>

struct fg_ip {
    uint8_t bytes[16];
};

struct fg_cidr {
    struct fg_ip ip;     /* bits behind the prefix are zero */
    unsigned prefix_len; /* of 128; an IPv4 prefix counts 96 more */
};

#define FG_IP_TEXT_MAX 46

/* "192.0.2.1", "2001:db8::1"; no brackets, no port, no zone. False leaves *ip alone. */
bool fg_ip_parse(struct fg_span text, struct fg_ip *ip);
/* False for a family that is neither. */
bool fg_ip_from_sockaddr(const struct sockaddr *address, struct fg_ip *ip);
/* 0 for a family that is neither. */
uint16_t fg_ip_port_of(const struct sockaddr *address);
bool fg_ip_is_v4(const struct fg_ip *ip);
/* "192.0.2.1" or "2001:db8::1" with a NUL; returns the length. */
size_t fg_ip_format(const struct fg_ip *ip, char text[FG_IP_TEXT_MAX]);

/* "10.0.0.0/8", or an address alone for a network of one; bits behind the prefix must be zero. */
bool fg_cidr_parse(struct fg_span text, struct fg_cidr *cidr);
bool fg_cidr_contains(const struct fg_cidr *cidr, const struct fg_ip *ip);
/* Is it in any of them? */
bool fg_cidr_list_contains(const struct fg_cidr *list, size_t count, const struct fg_ip *ip);

#endif
