/*
 * tls_staple.h: an authority's word that a certificate is good, which goes along with it.
 * Job      read it from a file that somebody else renews, and look whether a client would take it:
 *          for this certificate, signed by its authority, in time, and "good".
 * Thread   loaded by the main thread (it reads a file), then read by any.
 * Never    is sent when a client would end the handshake for it: then none is, as without a file.
 * Memory   its own until _fini; zeroed is "none".
 * Source   RFC 6960 sections 2.4, 3.2 and 4.2; RFC 8446 section 4.4.2.1; RFC 6066 section 8.
 */
#ifndef FG_NET_TLS_STAPLE_H
#define FG_NET_TLS_STAPLE_H

#include "tls/tls_files.h"

#include <stddef.h>
#include <stdint.h>

struct fg_tls_staple {
    const char *file;        /* of the configuration; NULL: there is none to be */
    unsigned char *response; /* DER; NULL: none can be sent, `why` says why */
    size_t bytes;
    uint64_t until_s; /* wall clock; a client takes it no more then */
    char why[128];    /* what is wrong with the file; empty: nothing */
};

/* Of `file`, for that certificate; what cannot be used leaves the response NULL. */
void fg_tls_staple_load(struct fg_tls_staple *staple, const char *file,
                        const struct fg_tls_pair *pair);
/* The other one's response in place of none; false: no memory. */
bool fg_tls_staple_keep(struct fg_tls_staple *staple, const struct fg_tls_staple *other);
void fg_tls_staple_fini(struct fg_tls_staple *staple);

/* Would a client take it at this time of day? */
bool fg_tls_staple_is_good(const struct fg_tls_staple *staple, uint64_t now_s);

#endif
