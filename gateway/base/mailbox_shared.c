/*
 * mailbox_shared.c: a mutex, a singly linked list and an eventfd; see the header for the protocol.
 */
#include "mailbox_shared.h"

#include "clock.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RUN_BETWEEN_LOOKS 4u /* messages between two looks at the clock */

enum fg_status fg_mailbox_init(struct fg_mailbox *box)
{
    *box = (struct fg_mailbox){.event_fd = -1};
    if (pthread_mutex_init(&box->lock, NULL) != 0)
        return FG_ERR_SYSTEM;
    box->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (box->event_fd == -1) {
        pthread_mutex_destroy(&box->lock);
        return FG_ERR_SYSTEM;
    }
    return FG_OK;
}

void fg_mailbox_fini(struct fg_mailbox *box)
{
    close(box->event_fd);
    box->event_fd = -1;
    pthread_mutex_destroy(&box->lock);
}

void fg_mailbox_post(struct fg_mailbox *box, struct fg_message *message)
{
    assert(message->run != NULL);
    message->next = NULL;
    pthread_mutex_lock(&box->lock);
    bool was_empty = box->first == NULL;
    if (was_empty)
        box->first = message;
    else
        box->last->next = message;
    box->last = message;
    /* Written under the lock: the drainer resets the eventfd under it too, so no wake-up is lost.
     */
    if (was_empty) {
        uint64_t one = 1;
        ssize_t written = write(box->event_fd, &one, sizeof(one));
        (void)written; /* EAGAIN means that it is readable already */
    }
    pthread_mutex_unlock(&box->lock);
}

static struct fg_message *take_all(struct fg_mailbox *box)
{
    pthread_mutex_lock(&box->lock);
    uint64_t count;
    ssize_t got = read(box->event_fd, &count, sizeof(count));
    (void)got; /* EAGAIN: a spurious wake-up */
    struct fg_message *first = box->first;
    box->first = NULL;
    box->last = NULL;
    pthread_mutex_unlock(&box->lock);
    return first;
}

static void let_wait(struct fg_mailbox *box, struct fg_message *message)
{
    message->next = NULL;
    if (box->patient_first == NULL)
        box->patient_first = message;
    else
        box->patient_last->next = message;
    box->patient_last = message;
}

bool fg_mailbox_drain_some(struct fg_mailbox *box, uint64_t most_ns)
{
    struct fg_message *message = take_all(box);
    while (message != NULL) {
        struct fg_message *next = message->next;
        if (message->may_wait)
            let_wait(box, message);
        else
            message->run(message);
        message = next;
    }
    if (box->patient_first == NULL)
        return false;
    uint64_t started_ns = fg_clock_monotonic_ns();
    for (unsigned ran = 0; (message = box->patient_first) != NULL; ran++) {
        if (ran > 0 && ran % RUN_BETWEEN_LOOKS == 0 &&
            fg_clock_monotonic_ns() - started_ns >= most_ns)
            return true;
        box->patient_first = message->next;
        message->run(message);
    }
    return false;
}

void fg_mailbox_drain(struct fg_mailbox *box)
{
    (void)fg_mailbox_drain_some(box, UINT64_MAX);
}
