/*
 * scheduler_fixture.h: a scheduler (two, where a test wants them) over an arena of its own, a fake
 * model and a clock that only tests move; what came of each request.
 * Never    sleeps. Memory: everything is gone, and the arena whole, at tear down.
 */
#ifndef FG_TEST_SCHEDULER_FIXTURE_H
#define FG_TEST_SCHEDULER_FIXTURE_H

#include "fake_model.h"
#include "inference/scheduler/scheduler.h"
#include "policies/priority.h"

#define IDS_MAX 64u
#define OUTPUT_MAX 256u

extern const struct fg_kv_shape fixture_shape;
extern uint64_t clock_now;

/* What came of one request. */
struct outcome {
    uint32_t token_count;
    uint32_t tokens[OUTPUT_MAX];
    char text[OUTPUT_MAX * 4];
    size_t text_bytes[OUTPUT_MAX]; /* that there were before each token */
    bool is_done;
    bool is_refused;
    uint32_t prompt_tokens; /* 0: it has not begun */
    struct fg_channel_done done;
    struct fg_channel_refused refused;
    char message[200];
    uint32_t order; /* of its first token */
};

struct fixture {
    int fd;
    struct fg_kv_arena *arena;
    struct fg_executor executor;
    struct fg_inference_conf conf;
    struct fg_scheduler *scheduler; /* worker 1 */
    struct fg_scheduler *other;     /* worker 0, where a test made it */
    bool hands_over_after_prefill;  /* what the next ones made are told */
    struct outcome outcomes[IDS_MAX];
    uint32_t first_tokens;
};

int set_up(void **state);
int tear_down(void **state);
/* Starts over with f->conf; outcomes are cleared. */
void start(struct fixture *f);
/* Worker 0 beside it, on the same arena. */
void start_other(struct fixture *f);

/* Blocks that can be taken. */
uint64_t free_blocks(const struct fixture *f);

/* What a class and a lot make together. */
uint32_t a_number(enum fg_priority priority, uint32_t cohort);
/* A request with defaults; tests change what they are about. Static: the next call overwrites it.
 */
struct fg_channel_submit *a_submit(uint32_t max_tokens);
struct fg_token_list prompt_of(uint32_t count, uint32_t seed);
struct fg_scheduler_ticket enter(struct fixture *f, uint64_t id,
                                 const struct fg_channel_submit *submit);
void submit_as(struct fixture *f, uint64_t id, uint32_t prompt_count,
               const struct fg_channel_submit *submit);
/* A prompt of the test's own, to the given scheduler. */
void submit_tokens(struct fixture *f, struct fg_scheduler *scheduler, uint64_t id,
                   const uint32_t *tokens, uint32_t count, const struct fg_channel_submit *submit);
void submit(struct fixture *f, uint64_t id, uint32_t prompt_count, uint32_t max_tokens);
void cancel(struct fixture *f, uint64_t id);
void run_dry(struct fixture *f);

/* Both are complete, with the same tokens and text. */
void assert_same_outcome(const struct outcome *a, const struct outcome *b);

#endif
