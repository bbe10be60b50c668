/*
 * tls_context.h: what connections need of a listener's TLS context; its public side is listener.h.
 */
#ifndef FG_NET_TLS_CONTEXT_H
#define FG_NET_TLS_CONTEXT_H

#include "net/listener.h"
#include "net/tls_slot_shared.h"

struct fg_tls_context {
    struct fg_tls_slot slot;
    struct fg_ticket_keys *tickets; /* borrowed; NULL: no resumption */
    uint64_t ticket_lifetime_s;
};

#endif
