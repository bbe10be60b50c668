/*
 * proxy_fixture.h: a cluster over a real event loop, with servers that the test plays.
 * Every wait is for a condition; a guard ends a test that waits in vain.
 */
#ifndef FG_TEST_PROXY_FIXTURE_H
#define FG_TEST_PROXY_FIXTURE_H

#include "proxy/proxy.h"

#include "base/clock.h"
#include "unit/backends/fake_exchange.h"
#include "upstream_server.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define GUARD_NS (60 * FG_S)
#define SERVERS_MAX 2u
#define EXCHANGES_MAX 8u

struct fixture {
    struct event_base *base;
    struct event *tick;
    struct fg_mailbox mailbox;
    struct fg_last_reads reads; /* without a bound */
    const uint64_t *turn;       /* NULL: nobody counts them */
    struct fg_helper_pool *helper;
    struct fg_cluster_conf conf;
    struct fg_endpoint_conf endpoints[SERVERS_MAX];
    struct upstream_server servers[SERVERS_MAX];
    struct upstream_server *server; /* the first */
    size_t server_read_max;         /* a turn */
    struct fg_backend *backend;
    struct fg_backend_thread *thread;
    struct fake_exchange exchanges[EXCHANGES_MAX];
};

/* Runs the loop and the servers until `condition` holds. */
#define RUN_UNTIL(f, condition)                                                                    \
    do {                                                                                           \
        uint64_t end_ns = fg_clock_monotonic_ns() + GUARD_NS;                                      \
        while (!(condition)) {                                                                     \
            if (fg_clock_monotonic_ns() > end_ns)                                                  \
                fail_msg("waited in vain for: %s", #condition);                                    \
            fixture_turn(f);                                                                       \
        }                                                                                          \
    } while (0)

int fixture_setup(void **state);
int fixture_teardown(void **state);
/* Creates and opens the backend by f->conf. */
void fixture_open(struct fixture *f);
/* The default configuration over one server. */
void fixture_open_plain(struct fixture *f);
void fixture_turn(struct fixture *f);
/* Begins exchange `index`, which must be initialised. */
void fixture_start(struct fixture *f, size_t index);
struct fake_exchange *fixture_get(struct fixture *f, size_t index, const char *path);
/* Hands over a piece of a request body. */
void fixture_body(struct fixture *f, size_t index, const char *data, size_t len, bool is_last);
/* A number out of the backend's statistics. */
uint64_t fixture_stat(struct fixture *f, const char *group, const char *name);

#endif
