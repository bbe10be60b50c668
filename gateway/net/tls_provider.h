/*
 * tls_provider.h: OpenSSL's handshakes derive their keys by tls_kdf, and are listened to.
 * Job      a provider of two of OpenSSL's algorithms, TLS13-KDF and TLS1-PRF, which contexts made
 *          with its properties use: theirs look up and set up a hash by its name each time, some
 *          twenty times a handshake. It tells the secrets and keys of TLS 1.3 as they are made,
 *          which otherwise only a key log would, as text.
 * Thread   added by the first that asks, before there are others; then any, each with a tls_kdf of
 *          its own between `enter` and `leave`.
 * Never    used by anybody who has not asked for it by its properties.
 *
 *    enter --> SSL_do_handshake, SSL_read ... --derive--> tls_kdf --> on_derived
 *    leave <------'
 */
#ifndef FG_NET_TLS_PROVIDER_H
#define FG_NET_TLS_PROVIDER_H

#include "net/tls_kdf.h"

/*
 * Hears of each HKDF-Expand-Label: `out` was derived under `label` from `secret`. All of it is
 * borrowed for the time of the call.
 */
typedef void (*fg_tls_derived_fn)(void *ctx, struct fg_span label, struct fg_span secret,
                                  struct fg_span out);

/* What to make contexts with, a constant; NULL: there is no memory, OpenSSL's own serve. */
const char *fg_tls_provider_properties(void);

/* From here to `leave` what this thread derives by the provider is derived with `kdf`. */
void fg_tls_provider_enter(struct fg_tls_kdf *kdf, fg_tls_derived_fn on_derived, void *ctx);
void fg_tls_provider_leave(void);

#endif
