/*
 * tls_context.h: what connections need of a listener's TLS context; its public side is listener.h.
 * Thread   any, read-only.
 */
#ifndef FG_NET_TLS_CONTEXT_H
#define FG_NET_TLS_CONTEXT_H

#include "net/listener.h"

#include <openssl/ssl.h>

struct fg_tls_context {
    SSL_CTX *ctx;
};

#endif
