/*
 * timeout_list.h: many waits of one length behind one timer.
 * Job      every wait in a list lasts as long as the next one, so the order of setting is the order
 *          of expiry: set and clear are a list insertion, and the timer is armed for the first
 *          only.
 * Thread   the event loop that owns the list.
 * Memory   intrusive; whoever embeds the timeout.
 */
#ifndef FG_PROXY_TIMEOUT_LIST_H
#define FG_PROXY_TIMEOUT_LIST_H

#include "base/list.h"
#include "proxy/turn_clock.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdint.h>

/* A wait; in one list or in none. Zeroed plus init. */
struct fg_timeout_entry {
    struct fg_list link;
    uint64_t expires_ns; /* valid while linked */
};

/* The timeout is out of its list already; it may be set again, or its owner freed. */
typedef void (*fg_timeout_fn)(struct fg_timeout_entry *timeout);

struct fg_timeout_list {
    struct fg_list waiting; /* soonest first */
    struct fg_turn_clock *clock;
    uint64_t duration_ns;
    struct event timer;
    bool is_armed;
    fg_timeout_fn on_expired;
};

/* `clock` outlives it. */
void fg_timeout_list_init(struct fg_timeout_list *list, struct event_base *base,
                          struct fg_turn_clock *clock, uint64_t duration_ns,
                          fg_timeout_fn on_expired);
/* Nothing waits any more. */
void fg_timeout_list_fini(struct fg_timeout_list *list);

void fg_timeout_entry_init(struct fg_timeout_entry *timeout);

/* Start to wait, or start again, leaving any list it was in. */
void fg_timeout_list_set(struct fg_timeout_list *list, struct fg_timeout_entry *timeout);
void fg_timeout_list_clear(struct fg_timeout_entry *timeout);

#endif
