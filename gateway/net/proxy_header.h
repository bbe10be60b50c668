/*
 * proxy_header.h: the header with which a load balancer says whose connection it passes on.
 * Job      version 1 (a line of text) and version 2 (binary) of the PROXY protocol, received.
 * Thread   any; pure.
 * Source   the PROXY protocol specification, sections 2.1 and 2.2.
 * Strict   what the specification lets a receiver refuse is refused: versions, commands, families
 *          and protocols that it does not define, numbers with leading zeros, lines over 107 bytes,
 *          values behind the addresses that are cut off, and a checksum that is wrong. Only TCP
 *          over IPv4 and IPv6 names a client; of any other family the connection's own address is
 *          kept.
 */
#ifndef FG_NET_PROXY_HEADER_H
#define FG_NET_PROXY_HEADER_H

#include "base/cidr.h"

enum fg_proxy_header_result {
    FG_PROXY_HEADER_OK,
    FG_PROXY_HEADER_PARTIAL, /* a good beginning; more is needed */
    FG_PROXY_HEADER_BAD,
};

/* More than this is never needed: a header of version 2 with more is refused. */
#define FG_PROXY_HEADER_BYTES_MAX ((size_t)4096)

struct fg_proxy_header {
    bool has_source; /* false: LOCAL, UNKNOWN, or no TCP over IP */
    struct fg_ip source;
    struct fg_ip destination;
    uint16_t source_port;
    uint16_t destination_port;
    size_t len;        /* bytes of the header */
    const char *fault; /* of a bad one: what is wrong, for the log; a constant */
};

/* OK: *header is filled in, and what follows it is the client's. */
enum fg_proxy_header_result fg_proxy_header_parse(struct fg_span bytes,
                                                  struct fg_proxy_header *header);

#endif
