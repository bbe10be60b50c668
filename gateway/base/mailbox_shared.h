/*
 * mailbox_shared.h: how another thread reaches an event loop: a message, never a pointer into it.
 * Protocol  any thread posts under the mutex; the owner takes the whole list at once and runs it
 *           outside the lock. What may wait it runs a part at a time, behind the rest. The first
 *           post into an empty box writes the eventfd, later ones do not, so that a burst costs one
 *           wake-up.
 * Memory   intrusive: a message is part of an object of the poster, who must keep it alive until it
 *          has run. Nothing is allocated, so a post cannot fail.
 */
#ifndef FG_BASE_MAILBOX_SHARED_H
#define FG_BASE_MAILBOX_SHARED_H

#include "status.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct fg_message;
typedef void (*fg_message_fn)(struct fg_message *message);

struct fg_message {
    struct fg_message *next;
    fg_message_fn run; /* on the owner's thread; may free the object that holds the message */
    bool may_wait;     /* for as long as there are many of its kind */
};

struct fg_mailbox {
    pthread_mutex_t lock;
    struct fg_message *first;
    struct fg_message *last;
    int event_fd; /* readable while messages wait that the owner has not taken */
    /* the owner's: taken, and may wait */
    struct fg_message *patient_first;
    struct fg_message *patient_last;
};

FG_MUST_USE enum fg_status fg_mailbox_init(struct fg_mailbox *box);
/* The box must be empty or its remaining messages are dropped unrun. */
void fg_mailbox_fini(struct fg_mailbox *box);

/* Any thread. Messages of one poster run in the order of its posts, but for those that may wait. */
void fg_mailbox_post(struct fg_mailbox *box, struct fg_message *message);

/* The owner, when event_fd is readable: runs all that has been posted. */
void fg_mailbox_drain(struct fg_mailbox *box);
/* The same, but of those that may wait only for `most_ns` and a few messages more. True: there are
 * others, of which event_fd says nothing. */
bool fg_mailbox_drain_some(struct fg_mailbox *box, uint64_t most_ns);

#endif
