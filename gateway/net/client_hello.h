/*
 * client_hello.h: a look at the first bytes of a TLS connection, before any of the work of it.
 * Job      is the hello there as a whole, does it offer a session to resume, is it one at all?
 * Thread   any; pure.
 * Source   RFC 8446 sections 4.1.2, 4.2.11 and 5.1; RFC 5077 section 3.2.
 * Trap     it is a hint for the order of work alone: whoever sends a forged ticket gets a full
 *          handshake, and is only ahead of others in the line.
 */
#ifndef FG_NET_CLIENT_HELLO_H
#define FG_NET_CLIENT_HELLO_H

#include "base/span.h"

enum fg_client_hello {
    FG_CLIENT_HELLO_PARTIAL, /* more bytes are needed */
    FG_CLIENT_HELLO_FULL,    /* whole, and nothing to resume; or no hello at all: TLS will say so */
    FG_CLIENT_HELLO_RESUMES, /* whole, with a ticket */
    FG_CLIENT_HELLO_HTTP,    /* none: the client speaks HTTP in the clear */
};

enum fg_client_hello fg_client_hello_look(struct fg_span bytes);

#endif
