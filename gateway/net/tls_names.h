/*
 * tls_names.h: which certificates go with which host name (RFC 6125 section 6.4).
 * Job      for the name that a client asks for, the set of certificates that have it: the exact
 *          name before a wildcard, of each key type the first in the configuration's order.
 * Thread   built once, then read by any.
 * Memory   its own; bounded by certificates x names.
 */
#ifndef FG_NET_TLS_NAMES_H
#define FG_NET_TLS_NAMES_H

#include "base/span.h"
#include "base/status.h"

#define FG_TLS_CERTIFICATES_MAX 64u /* one bit each */
#define FG_TLS_NAME_MAX 253u

struct fg_tls_name {
    char *text;        /* in lower case; "*.example.org" for a wildcard */
    uint64_t having;   /* bit i: certificate i has it, and is the first of its key type that does */
    uint64_t covering; /* bit i: certificate i has it */
};

/* Zeroed is empty. */
struct fg_tls_names {
    struct fg_tls_name *names; /* sorted once complete */
    size_t count;
    size_t room;
    uint64_t types[FG_TLS_CERTIFICATES_MAX]; /* bit i of types[t]: certificate i is of key type t */
};

/* Certificate `index` has `name` (lower case); `key_type` is any number that tells key types apart,
 * below 64. In the order of the configuration. FG_ERR_NO_MEMORY. */
FG_MUST_USE enum fg_status fg_tls_names_add(struct fg_tls_names *names, unsigned index,
                                            unsigned key_type, const char *name);
/* All are added. */
void fg_tls_names_complete(struct fg_tls_names *names);
/* The certificates for a name that a client sent, in any case; 0: none has it. */
uint64_t fg_tls_names_find(const struct fg_tls_names *names, struct fg_span name);
/* All certificates that stand for it, in any case, by its name or a wildcard. */
uint64_t fg_tls_names_covering(const struct fg_tls_names *names, struct fg_span name);
void fg_tls_names_fini(struct fg_tls_names *names);

#endif
