/*
 * inference_fixture.h: the inference backend on one event loop, with two workers and some clients
 * that the test plays. Every wait is for a condition; a guard ends a test that waits in vain.
 * Thread   the test's.
 */
#ifndef FG_TEST_INFERENCE_FIXTURE_H
#define FG_TEST_INFERENCE_FIXTURE_H

#include "base/clock.h"
#include "fake_exchange.h"
#include "fake_worker.h"
#include "inference/api/inference_backend.h"

/* A chat body without its last brace. */
#define CHAT "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"seed\":7"
#define GUARD_NS (60 * FG_S)

struct fixture {
    struct event_base *base;
    struct fg_mailbox mailbox;
    struct event *mailbox_event;
    struct event *guard;
    struct fg_backend_env env;
    struct fg_inference_conf conf;
    char directory[64];
    char paths[2][96];
    struct fake_worker workers[2];
    struct fg_backend *backend;
    struct fg_backend_thread *thread;
    struct fake_exchange exchanges[8];
};

/* Runs the loop until `condition` holds. */
#define RUN_UNTIL(f, condition)                                                                    \
    do {                                                                                           \
        uint64_t end_ns = fg_clock_monotonic_ns() + GUARD_NS;                                      \
        while (!(condition)) {                                                                     \
            if (fg_clock_monotonic_ns() > end_ns)                                                  \
                fail_msg("waited in vain for: %s", #condition);                                    \
            event_base_loop((f)->base, EVLOOP_ONCE);                                               \
        }                                                                                          \
    } while (0)

/* cmocka's; the backend is opened by the test, after it changed conf or env. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

void fixture_open_backend(struct fixture *f);
/* Workers first..first+count-1 run, and the backend has their HELLO. */
void fixture_open_all(struct fixture *f, unsigned first, unsigned count);

/* A POST with a whole body in two pieces, from the client in `slot`. */
struct fake_exchange *fixture_start(struct fixture *f, unsigned slot, const char *path,
                                    const char *body);
struct fake_exchange *fixture_start_sized(struct fixture *f, unsigned slot, const char *path,
                                          const char *body, size_t arena_bytes_max);
/* CHAT with `extra` in it. */
struct fake_exchange *fixture_start_chat(struct fixture *f, unsigned slot, const char *extra);
/* A completion body of about `len` bytes; the caller frees it. */
char *fixture_long_body(size_t len);

/* The stream ended well, with this text. */
void fixture_assert_stream(const struct fake_exchange *fake, const char *expected);

/* Numbers of the backend's stats. */
json_int_t fixture_number(struct fixture *f, const char *group, const char *name);
json_int_t fixture_refused(struct fixture *f, const char *reason);
json_int_t fixture_of_worker(struct fixture *f, size_t worker, const char *name);

#endif
