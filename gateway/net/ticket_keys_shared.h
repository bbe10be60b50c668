/*
 * ticket_keys_shared.h: the keys of session tickets (RFC 5077 section 4), derived, never stored.
 *
 *    key(epoch) = HMAC-SHA256(secret, label || epoch),   epoch = wall time / rotation period
 *
 * Job      every thread, every restart and every gateway with the same secret has the same keys at
 *          the same moment, and rotates at the same moment, without talking to each other.
 * Protocol one mutex; held to copy a key, and four times an epoch to derive one.
 * Reads    tickets of this epoch, of the one before (renewed then) and of the next (a gateway whose
 *          clock is ahead); the same of the secret that was set before this one.
 * Never    forward secrecy against who steals the secret: rotating the file is what gives that.
 */
#ifndef FG_NET_TICKET_KEYS_SHARED_H
#define FG_NET_TICKET_KEYS_SHARED_H

#include "net/ticket_memory_shared.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_TICKET_SECRET_BYTES_MIN 32
#define FG_TICKET_NAME_BYTES 16

struct fg_ticket_key {
    unsigned char name[FG_TICKET_NAME_BYTES];
    unsigned char cipher[32]; /* AES-256-CBC */
    unsigned char mac[32];    /* HMAC-SHA256 */
};

struct fg_ticket_keys;

/* NULL when memory is short. */
struct fg_ticket_keys *fg_ticket_keys_create(uint64_t rotate_s);
void fg_ticket_keys_destroy(struct fg_ticket_keys *keys);

/* Go on with the secrets that are in `memory`, which outlives it, and leave there what is set from
 * now on. Before the first secret is set. */
void fg_ticket_keys_keep(struct fg_ticket_keys *keys, struct fg_ticket_memory *memory);

/* Is there a secret? Any thread. */
bool fg_ticket_keys_are_set(struct fg_ticket_keys *keys);

/* The secret from now on; tickets under the one before are still read. Any length from 32; any
 * thread. */
void fg_ticket_keys_set_secret(struct fg_ticket_keys *keys, const void *secret, size_t len);

/* The key to make tickets with at `now_s`; false: no secret is set, or OpenSSL failed. */
bool fg_ticket_keys_current(struct fg_ticket_keys *keys, uint64_t now_s, struct fg_ticket_key *key);

enum fg_ticket_key_age { FG_TICKET_KEY_UNKNOWN, FG_TICKET_KEY_CURRENT, FG_TICKET_KEY_OLD };

/* The key of that name if tickets under it are still good; OLD: renew the ticket. */
enum fg_ticket_key_age fg_ticket_keys_find(struct fg_ticket_keys *keys, uint64_t now_s,
                                           const unsigned char name[FG_TICKET_NAME_BYTES],
                                           struct fg_ticket_key *key);

#endif
