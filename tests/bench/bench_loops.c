/*
 * bench_loops.c: what event loops lose to one another where they share; scripts/bench loops drives.
 * Job      bench_loops WHAT THREADS REPEATS WORK_NS: threads that each do REPEATS times a request's
 *          share of WHAT, with WORK_NS of other work beside it; prints what a request takes more than
 *          without it, ns.
 *            page   a cached page that all ask for, as a loop looks it up, 32 of them in a turn
 *            store  the same, if each request asked the store
 *            gate   a slot before one backend: entered, breaker passed, left
 * Thread   those that are measured, and the main one, which waits for them.
 * Never    touches a socket: what loops do not share is not measured.
 */
#include "base/clock.h"
#include "pipeline/cache_near.h"
#include "upstream/gate_conf.h"
#include "upstream/gate_shared.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 256u
#define TURN 32u
#define KEY FG_SPAN("sh\n/promo/")

static const uint32_t compound = FG_PRIORITY_NORMAL * FG_PRIORITY_COHORT_COUNT;

struct bench {
    void (*run)(const struct bench *bench, struct fg_loop *loop);
    unsigned repeats;
    uint64_t work_turns; /* of work(), between taking and giving back */
    struct fg_cache_store *store;
    struct fg_gate *gate;
    struct fg_exchange ex;
    pthread_barrier_t begin;
};

/* Each step waits for the one before it; one copy for all who call, as where a loop lies in memory
 * makes it faster or slower. */
__attribute__((noinline)) static void work(uint64_t turns)
{
    static _Thread_local volatile uint64_t result;
    uint64_t x = result;
    for (uint64_t i = 0; i < turns; i++)
        x = x * UINT64_C(6364136223846793005) + 1;
    result = x;
}

/* How often work() turns in so many nanoseconds; the first look warms up. */
static uint64_t turns_of(uint64_t ns)
{
    const uint64_t probe = 10000000;
    uint64_t taken_ns = 1;
    for (int i = 0; i < 2; i++) {
        uint64_t begun_ns = fg_clock_monotonic_ns();
        work(probe);
        taken_ns = fg_clock_monotonic_ns() - begun_ns;
    }
    return probe * ns / taken_ns;
}

/* ---- what is shared ---- */

static void run_none(const struct bench *bench, struct fg_loop *loop)
{
    (void)loop;
    for (unsigned i = 0; i < bench->repeats; i++)
        work(bench->work_turns);
}

static void run_store(const struct bench *bench, struct fg_loop *loop)
{
    (void)loop;
    const struct fg_cache_ask ask = {.ex = &bench->ex, .key = KEY};
    for (unsigned i = 0; i < bench->repeats; i++) {
        struct fg_cache_object *object = fg_cache_store_get(bench->store, &ask, NULL);
        work(bench->work_turns);
        fg_cache_object_release(object);
    }
}

static void run_page(const struct bench *bench, struct fg_loop *loop)
{
    const struct fg_cache_ask ask = {.ex = &bench->ex, .key = KEY};
    struct fg_cache_near near;
    fg_cache_near_init(&near, bench->store, loop);
    for (unsigned i = 0; i < bench->repeats; i++) {
        struct fg_cache_lease *lease = fg_cache_near_get(&near, &ask);
        work(bench->work_turns);
        fg_cache_lease_release(lease);
        if (i % TURN == 0)
            fg_loop_run_deferred(loop);
    }
    fg_cache_near_fini(&near);
}

static void run_gate(const struct bench *bench, struct fg_loop *loop)
{
    (void)loop;
    for (unsigned i = 0; i < bench->repeats; i++) {
        uint64_t now_ns = fg_clock_monotonic_ns();
        uint32_t level;
        bool has_passed;
        if (!fg_gate_try_enter(bench->gate, compound, now_ns, &level, &has_passed))
            abort(); /* there is a slot for every thread */
        work(bench->work_turns);
        fg_gate_leave(bench->gate, now_ns + FG_MS, FG_MS, FG_CONCURRENCY_SUCCESS, has_passed, false,
                      FG_BREAKER_SUCCESS);
    }
}

/* ---- set up ---- */

static struct fg_cache_store *make_store(void)
{
    const struct fg_cache_conf conf = {.bytes_max = 8 << 20, .object_bytes_max = 256 << 10};
    struct fg_cache_store *store = fg_cache_store_create(&conf);
    struct fg_cache_object *object = fg_cache_object_create(
        &(struct fg_cache_draft){.key = KEY, .status = 200, .lifetime_s = 3600});
    struct fg_cache_body *body = fg_cache_body_create(1024);
    if (store == NULL || object == NULL || body == NULL)
        abort();
    fg_cache_object_set_body(object, body);
    if (!fg_cache_store_restore(store, object))
        abort();
    fg_cache_object_release(object);
    return store;
}

static struct fg_gate *make_gate(void)
{
    const struct fg_backend_conf conf = {
        .name = "backend",
        .concurrency = {.kind = FG_CONCURRENCY_FIXED, .limit = THREADS_MAX},
        .queue = {.requests_max = 1, .wait_max_ns = FG_S},
        .breaker = {.enabled = true,
                    .consecutive_failures = 5,
                    .min_requests = 10,
                    .half_open_probes = 1,
                    .window_ns = 10 * FG_S,
                    .open_ns = FG_S,
                    .open_max_ns = 4 * FG_S},
    };
    const struct fg_gate_policy_config config = fg_gate_policy_config_of(&conf);
    struct fg_gate *gate = fg_gate_create(&config, fg_clock_monotonic_ns());
    if (gate == NULL)
        abort();
    return gate;
}

/* Its time, ns, in place of the result. */
static void *measure(void *arg)
{
    struct bench *bench = arg;
    struct fg_loop *loop = fg_loop_create(0, 1);
    if (loop == NULL)
        abort();
    pthread_barrier_wait(&bench->begin);
    uint64_t begun_ns = fg_clock_monotonic_ns();
    bench->run(bench, loop);
    uint64_t taken_ns = fg_clock_monotonic_ns() - begun_ns;
    fg_loop_destroy(loop);
    return (void *)(uintptr_t)taken_ns;
}

static double mean_ns(struct bench *bench, unsigned thread_count,
                      void (*run)(const struct bench *bench, struct fg_loop *loop))
{
    pthread_t threads[THREADS_MAX];
    uint64_t all_ns = 0;
    bench->run = run;
    pthread_barrier_init(&bench->begin, NULL, thread_count);
    for (unsigned i = 0; i < thread_count; i++) {
        if (pthread_create(&threads[i], NULL, measure, bench) != 0)
            abort();
    }
    for (unsigned i = 0; i < thread_count; i++) {
        void *taken_ns;
        pthread_join(threads[i], &taken_ns);
        all_ns += (uintptr_t)taken_ns;
    }
    pthread_barrier_destroy(&bench->begin);
    return (double)all_ns / thread_count / bench->repeats;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const struct bench *bench, struct fg_loop *loop);
    } kinds[] = {{"page", run_page}, {"store", run_store}, {"gate", run_gate}};
    struct bench bench = {.run = NULL};
    void (*run)(const struct bench *bench, struct fg_loop *loop) = NULL;
    for (size_t i = 0; argc == 5 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(argv[1], kinds[i].name) == 0)
            run = kinds[i].run;
    }
    unsigned long thread_count = argc == 5 ? strtoul(argv[2], NULL, 10) : 0;
    bench.repeats = argc == 5 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    if (run == NULL || thread_count == 0 || thread_count > THREADS_MAX || bench.repeats == 0) {
        fprintf(stderr, "usage: bench_loops page|store|gate THREADS REPEATS WORK_NS\n");
        return 2;
    }
    bench.work_turns = turns_of(strtoul(argv[4], NULL, 10));
    bench.store = make_store();
    bench.gate = make_gate();
    double before_ns = mean_ns(&bench, (unsigned)thread_count, run_none);
    double shared_ns = mean_ns(&bench, (unsigned)thread_count, run);
    double after_ns = mean_ns(&bench, (unsigned)thread_count, run_none);
    printf("%.1f\n", shared_ns - (before_ns + after_ns) / 2);
    fg_gate_destroy(bench.gate);
    fg_cache_store_destroy(bench.store);
    return 0;
}
