/*
 * client_hello.h: a look at the first bytes of a TLS connection, before any of the work of it.
 * Job      is the hello there as a whole, does it offer a session to resume, is it one at all, and
 *          no longer than any client's? It says how long it is before it comes, and OpenSSL makes
 *          room for 128 KiB where it says so.
 * Thread   any; pure.
 * Source   RFC 8446 sections 4.1.2, 4.2.10, 4.2.11, 5, 5.1 and D.4; RFC 5077 section 3.2.
 * Trap     what it offers is a hint for the order of work alone: whoever sends a forged ticket gets
 *          a full handshake, and is only ahead of others in the line.
 */
#ifndef FG_NET_CLIENT_HELLO_H
#define FG_NET_CLIENT_HELLO_H

#include "base/span.h"

/* Of a hello, with its own header: what one record holds, as in BoringSSL. */
#define FG_CLIENT_HELLO_MAX ((size_t)16384)
/* Of what is waited for: with the headers of the records over which it may be cut. */
#define FG_CLIENT_HELLO_HELD_MAX ((size_t)20480)

enum fg_client_hello {
    FG_CLIENT_HELLO_PARTIAL,  /* more bytes are needed */
    FG_CLIENT_HELLO_FULL,     /* whole, and nothing to resume, for all that is looked at */
    FG_CLIENT_HELLO_RESUMES,  /* whole, with a ticket */
    FG_CLIENT_HELLO_HTTP,     /* none: the client speaks HTTP in the clear */
    FG_CLIENT_HELLO_NONE,     /* none */
    FG_CLIENT_HELLO_TOO_LONG, /* it is to be, or too many records are in its way */
    FG_CLIENT_HELLO_OVERFLOW, /* a record that is longer than any may be */
    FG_CLIENT_HELLO_IDLE,     /* none yet: records before a second one that mean nothing */
};

/*
 * Of one that is whole, and of idle records, *len is where the last record ends. Before a second
 * hello (`is_second`) may stand a change of ciphers, for the sake of middleboxes, and the early
 * data of a client that did not know yet that it would be asked again.
 */
enum fg_client_hello fg_client_hello_look(struct fg_span bytes, bool is_second, size_t *len);

#endif
