/*
 * orders_fixture.h: a redis-server in a directory of its own, the orders backend on one event loop,
 * and requests that record their answers.
 * Thread   the test's. Nothing sleeps: the loop runs until a condition holds, within a bound.
 */
#ifndef FG_TEST_ORDERS_FIXTURE_H
#define FG_TEST_ORDERS_FIXTURE_H

#include "backends/backend.h"
#include "orders/orders_conf.h"

#include <hiredis/hiredis.h>
#include <sys/types.h>

struct fixture {
    char directory[64];
    struct fg_sku_conf skus[3]; /* milk-tea 100, fruit-tea 1, black-tea 1,000,000 */
    struct fg_orders_conf conf;
    pid_t redis_pid; /* 0: not running */
    struct event_base *base;
    struct fg_backend *backend;
    struct fg_backend_thread *thread;
    struct fg_arena_pool pool;
    unsigned open_count; /* requests without an answer */
};

struct request {
    struct fg_exchange ex; /* first */
    struct fixture *fixture;
    struct fg_arena arena;
    struct fg_field field;
    char user[32];
    char path[96];
    char key[64];

    /* the answer */
    bool is_ended;
    bool is_failed;
    unsigned status; /* 0: none yet */
    char code[48];
    uint64_t retry_after_ms;
    bool is_replayed;
    bool is_slot_released;
    char content_type[48];
    char *body;
    size_t body_len;
    enum fg_failure failure;
};

/* False, after saying so, when there is no redis-server: the test is to be skipped. */
bool fixture_has_redis(void);
/* cmocka's set-up and tear-down of a test: *state is the struct fixture. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

void fixture_start_redis(struct fixture *f);
void fixture_kill_redis(struct fixture *f, int signal_number); /* and waits for its end */
void fixture_open_backend(struct fixture *f);
void fixture_close_backend(struct fixture *f);

/* Runs the loop until `condition(object)`; fails the test after 30 s. */
void fixture_run_until(struct fixture *f, bool (*condition)(void *object), void *object);
void fixture_run_until_ready(struct fixture *f);
void fixture_run_until_answered(struct fixture *f); /* all requests */

/* A blocking command, for looking behind the scenes. The caller frees the reply. */
redisReply *fixture_redis(struct fixture *f, const char *format, ...);
long long fixture_number(struct fixture *f, const char *key); /* of an integer key */

/* Begins a request; `body` and `key` may be NULL. Freed by request_free, once it has an answer. */
struct request *request_start(struct fixture *f, enum fg_method method, const char *path,
                              const char *user, const char *key, const char *body);
/* Begins it and waits for its answer. */
struct request *request_run(struct fixture *f, enum fg_method method, const char *path,
                            const char *user, const char *key, const char *body);
void request_free(struct request *request);

/* A member of the JSON answer, "" or 0 when absent; text lives until the next call. */
const char *request_text(const struct request *request, const char *name);
long long request_number(const struct request *request, const char *name);

#endif
