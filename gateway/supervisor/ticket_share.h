/*
 * ticket_share.h: the secret of session tickets that gateways have in common through Redis.
 * Job      ask for it, put our own there when there is none, take it up; ask again now and then.
 * Thread   the first event loop; the keys that it sets are shared.
 * Never    keeps a handshake waiting: until Redis has answered, and while it is away, the secret
 *          that was set last goes on.
 */
#ifndef FG_SUPERVISOR_TICKET_SHARE_H
#define FG_SUPERVISOR_TICKET_SHARE_H

#include "net/loop.h"
#include "net/ticket_keys_shared.h"
#include "redis/redis_link.h"

struct fg_ticket_share;

struct fg_ticket_share_options {
    struct fg_loop *loop;
    struct fg_redis_link *link; /* the loop's; both outlive the share */
    struct fg_ticket_keys *keys;
    const char *prefix;        /* of the key in Redis */
    const unsigned char *seed; /* our own secret, if there is none yet: 32 bytes, copied */
    uint64_t period_ns;        /* between two looks; 0: a default */
};

/* NULL: no memory. */
struct fg_ticket_share *fg_ticket_share_create(const struct fg_ticket_share_options *options);
/* Before the link closes; NULL is fine. */
void fg_ticket_share_destroy(struct fg_ticket_share *share);

#endif
