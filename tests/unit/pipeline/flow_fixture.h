/*
 * flow_fixture.h: one thread's pipeline between a codec and two backends, both played by the test.
 * Thread   the test's.
 */
#ifndef FG_TEST_FLOW_FIXTURE_H
#define FG_TEST_FLOW_FIXTURE_H

#include "pipeline/flow.h"

#define FLOW_OPEN_MAX 8
#define FLOW_LIMITED 2 /* index of the route that has a limit of its own */

/* Of the test that runs. */
struct flow_fixture {
    struct fg_loop *loop;
    struct fg_pipeline *pipeline;
    struct fg_pipeline_thread *thread;

    /* the backends */
    struct fg_exchange *open_exchanges[FLOW_OPEN_MAX];
    unsigned open_count, started, cancelled;
    char body_seen[256];
    bool body_ended;
    uint64_t body_wanted; /* so much at most, whole; 0: as it comes */
};

extern struct flow_fixture flow;

/* What a codec has of a request. */
struct fake_request {
    struct fg_request req;
    unsigned status;
    char body[2048];
    char retry_after[16];
    bool has_ended;
    bool has_aborted;
    size_t consumed;
};

/* cmocka's set-up and tear-down of a test: everything that was counted has been given back. */
int flow_setup(void **state);
int flow_teardown(void **state);

/* What a backend does: answer whole, or only take an exchange off those that are open. */
void flow_answer(struct fg_exchange *ex, unsigned status, const char *body,
                 const char *cache_control);
void flow_forget(struct fg_exchange *ex);

/* A request comes; a body is to follow by itself. With so much memory for it, or enough. */
struct fake_request *flow_ask_with(enum fg_method method, const char *path, bool has_body,
                                   size_t memory_max);
struct fake_request *flow_ask(enum fg_method method, const char *path, bool has_body);
/* What a codec does at the very end; frees it. */
void flow_finish(struct fake_request *fake);
/* What other threads have sent, and the end of the turn. */
void flow_run_messages(void);

#endif
