/*
 * tls_files.h: certificates and keys out of PEM files, for the check, listeners and clusters alike.
 * Thread   any; reads files, so never a loop's.
 * Memory   what a struct holds is its own until _fini.
 * Never    prints or logs what is in a key file.
 */
#ifndef FG_TLS_TLS_FILES_H
#define FG_TLS_TLS_FILES_H

#include "base/status.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>

/* A certificate, what it is signed with up to the root, and its key. Zeroed is empty. */
struct fg_tls_pair {
    X509 *leaf;
    STACK_OF(X509) * chain; /* may be empty */
    EVP_PKEY *key;
};

enum fg_tls_pair_fault { FG_TLS_PAIR_FINE, FG_TLS_PAIR_CERTIFICATE, FG_TLS_PAIR_KEY };

/* The fault says which file is to blame, `why` what is wrong, in words; then nothing is held. */
enum fg_tls_pair_fault fg_tls_pair_load(struct fg_tls_pair *pair, const char *certificate,
                                        const char *private_key, char *why, size_t why_bytes);
void fg_tls_pair_fini(struct fg_tls_pair *pair);

/* Seconds until its end; below 0: it is over. */
int64_t fg_tls_seconds_left(const X509 *leaf);

/* Why no client will take a certificate at this time of day; NULL: it is valid. */
const char *fg_tls_pair_unfit(const X509 *leaf);

/* Does it demand to be shown with an OCSP response ("must staple", RFC 7633)? */
bool fg_tls_wants_staple(const X509 *leaf);

/* The host names of a certificate in lower case, at most `max`; each is freed with OPENSSL_free.
 * Those of the alternative names, or the common name where there are none. */
size_t fg_tls_pair_names(const struct fg_tls_pair *pair, char **names, size_t max);

/* The certificates of a file of authorities, at least one; NULL with `why`. */
STACK_OF(X509) * fg_tls_authorities_load(const char *path, char *why, size_t why_bytes);

/* The same of a file of lists of what was revoked. */
STACK_OF(X509_CRL) * fg_tls_crls_load(const char *path, char *why, size_t why_bytes);

#endif
