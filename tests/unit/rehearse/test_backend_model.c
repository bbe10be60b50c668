/*
 * test_backend_model.c: slots, the backend's own line, orphans, faults, batches and their KV cache,
 * with times that can be worked out by hand.
 */
#include "base/clock.h"
#include "rehearse/sim/backend_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define JOBS 8
enum { SERVED, ANSWERED, TURN, FAULT };

struct fixture {
    struct fg_event_heap heap;
    struct fg_backend_model model;
    struct fg_job jobs[JOBS];
    uint64_t done_ns[JOBS]; /* 0: not yet */
    uint64_t head_ns[JOBS];
    enum fg_job_outcome outcomes[JOBS];
};

static void on_done(void *object, struct fg_job *job, enum fg_job_outcome outcome, uint64_t now_ns,
                    uint64_t head_ns)
{
    struct fixture *f = object;
    f->done_ns[job->index] = now_ns;
    f->head_ns[job->index] = head_ns;
    f->outcomes[job->index] = outcome;
}

static void open_fixture(struct fixture *f, const struct fg_scenario_backend *conf)
{
    static const struct fg_backend_events events = {SERVED, ANSWERED, TURN, FAULT};
    *f = (struct fixture){0};
    for (uint32_t i = 0; i < JOBS; i++)
        f->jobs[i] = (struct fg_job){.index = i, .prompt_tokens = 100, .output_tokens = 100};
    assert_true(fg_backend_model_init(&f->model, conf, &f->heap, &events, 1, on_done, f));
}

static void run_until(struct fixture *f, uint64_t until_ns)
{
    struct fg_event event;
    while (f->heap.count > 0 && f->heap.events[0].at_ns <= until_ns) {
        assert_true(fg_event_heap_take(&f->heap, &event));
        struct fg_job *job = &f->jobs[fg_event_index(&event) % JOBS];
        switch (fg_event_kind(&event)) {
        case SERVED:
            fg_backend_model_on_served(&f->model, job, event.at_ns);
            break;
        case ANSWERED:
            fg_backend_model_on_answered(&f->model, job, event.at_ns);
            break;
        case TURN:
            fg_backend_model_on_turn(&f->model, event.at_ns);
            break;
        default:
            fg_backend_model_on_fault(&f->model, event.at_ns);
        }
    }
}

static void close_fixture(struct fixture *f)
{
    fg_backend_model_fini(&f->model);
    fg_event_heap_fini(&f->heap);
}

static struct fg_scenario_backend slots_of(uint32_t slots)
{
    return (struct fg_scenario_backend){.slots = slots,
                                        .service_ns = 10 * FG_MS,
                                        .spread = FG_SERVICE_FIXED,
                                        .pending_max = 2,
                                        .is_finishing_orphaned = true};
}

static void start(struct fixture *f, unsigned job, uint64_t now_ns, enum fg_job_start expected)
{
    assert_int_equal(fg_backend_model_start(&f->model, &f->jobs[job], now_ns), expected);
}

static void serves_in_slots_and_the_rest_in_its_own_line(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_scenario_backend conf = slots_of(2);
    conf.latency_ns = 3 * FG_MS; /* holds no slot */
    open_fixture(&f, &conf);
    for (unsigned i = 0; i < 4; i++)
        start(&f, i, 0, FG_JOB_TAKEN);
    start(&f, 4, 0, FG_JOB_BUSY);
    run_until(&f, FG_S);
    assert_true(f.done_ns[0] == 13 * FG_MS && f.done_ns[1] == 13 * FG_MS);
    assert_true(f.done_ns[2] == 23 * FG_MS && f.done_ns[3] == 23 * FG_MS);
    close_fixture(&f);
}

static void works_on_for_those_who_have_gone_unless_it_can_stop(void **state)
{
    (void)state;
    for (unsigned stops = 0; stops < 2; stops++) {
        struct fixture f;
        struct fg_scenario_backend conf = slots_of(1);
        conf.is_finishing_orphaned = stops == 0;
        open_fixture(&f, &conf);
        for (unsigned i = 0; i < 3; i++)
            start(&f, i, 0, FG_JOB_TAKEN);
        fg_backend_model_abandon(&f.model, &f.jobs[0], FG_MS); /* being served */
        fg_backend_model_abandon(&f.model, &f.jobs[1], FG_MS); /* pending */
        run_until(&f, FG_S);
        assert_int_equal(f.outcomes[0], FG_JOB_DISOWNED);
        assert_int_equal(f.outcomes[1], FG_JOB_DISOWNED);
        assert_int_equal(f.outcomes[2], FG_JOB_ANSWERED);
        assert_true(f.done_ns[2] == (stops == 1 ? 11 * FG_MS : 30 * FG_MS));
        assert_true(f.model.wasted_total == (stops == 1 ? 0 : 2));
        close_fixture(&f);
    }
}

static void faults_come_and_go(void **state)
{
    (void)state;
    struct fg_scenario_fault faults[] = {
        {.at_ns = 100 * FG_MS,
         .for_ns = 100 * FG_MS,
         .slots_permille = 1000,
         .slow_permille = 4000},
        {.at_ns = 300 * FG_MS, .for_ns = 100 * FG_MS, .slots_permille = 0, .slow_permille = 1000},
        {.at_ns = 500 * FG_MS,
         .for_ns = 100 * FG_MS,
         .slots_permille = 1000,
         .slow_permille = 1000,
         .errors_permille = 1000},
    };
    struct fg_scenario_backend conf = slots_of(2);
    struct fixture f;
    conf.faults = faults;
    conf.fault_count = 3;
    open_fixture(&f, &conf);
    run_until(&f, 150 * FG_MS);
    start(&f, 0, 150 * FG_MS, FG_JOB_TAKEN);
    run_until(&f, 250 * FG_MS);
    assert_true(f.done_ns[0] == 190 * FG_MS); /* four times as slow */
    start(&f, 1, 250 * FG_MS, FG_JOB_TAKEN);
    run_until(&f, 350 * FG_MS);
    assert_true(f.done_ns[1] == 260 * FG_MS);
    start(&f, 2, 350 * FG_MS, FG_JOB_UNREACHABLE);
    run_until(&f, 550 * FG_MS);
    start(&f, 3, 550 * FG_MS, FG_JOB_TAKEN);
    run_until(&f, FG_S);
    assert_int_equal(f.outcomes[3], FG_JOB_ERROR);
    close_fixture(&f);
}

static struct fg_scenario_backend model_of(uint64_t kv, bool is_reserving)
{
    return (struct fg_scenario_backend){.slots = 4,
                                        .pending_max = 100,
                                        .tokens = {.is_on = true,
                                                   .per_s = 100,
                                                   .per_s_each = 100,
                                                   .prefill_per_s = 100000,
                                                   .kv = kv,
                                                   .is_reserving = is_reserving}};
}

static void is_near(uint64_t at_ns, double seconds)
{
    double at_s = (double)at_ns / 1e9;
    assert_true(at_s > seconds - 0.01 && at_s < seconds + 0.01);
}

/* 100 tokens at 100 a second and 0.1 s of prompt: alone 1.1 s, two side by side 2.2 s. */
static void sequences_share_the_speed_of_the_batch(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_scenario_backend conf = model_of(1000, true);
    conf.tokens.prefill_per_s = 1000;
    open_fixture(&f, &conf);
    start(&f, 0, 0, FG_JOB_TAKEN);
    run_until(&f, 5 * FG_S);
    is_near(f.done_ns[0], 1.1);
    is_near(f.head_ns[0], 0.1);
    start(&f, 1, 10 * FG_S, FG_JOB_TAKEN);
    start(&f, 2, 10 * FG_S, FG_JOB_TAKEN);
    run_until(&f, 20 * FG_S);
    is_near(f.done_ns[1], 12.2);
    is_near(f.done_ns[2], 12.2);
    close_fixture(&f);
}

static void a_reserving_cache_starts_only_what_it_can_end(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_scenario_backend conf = model_of(400, true); /* two of 200 */
    open_fixture(&f, &conf);
    for (unsigned i = 0; i < 3; i++)
        start(&f, i, 0, FG_JOB_TAKEN);
    assert_int_equal(f.model.busy, 2);
    assert_int_equal(f.model.pending, 1);
    run_until(&f, 10 * FG_S);
    assert_true(f.model.preempted_total == 0);
    is_near(f.done_ns[2], 3.0);
    close_fixture(&f);
}

static void a_growing_cache_takes_the_work_of_the_newest(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_scenario_backend conf = model_of(300, false); /* three prompts fill it at once */
    open_fixture(&f, &conf);
    for (unsigned i = 0; i < 2; i++)
        start(&f, i, 0, FG_JOB_TAKEN);
    run_until(&f, 10 * FG_S);
    assert_true(f.model.preempted_total > 0);
    assert_int_equal(f.outcomes[1], FG_JOB_ANSWERED);
    assert_true(f.done_ns[0] < f.done_ns[1]);
    close_fixture(&f);
}

static void an_abandoned_sequence_makes_room_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_scenario_backend conf = model_of(200, true);
    open_fixture(&f, &conf);
    start(&f, 0, 0, FG_JOB_TAKEN);
    start(&f, 1, 0, FG_JOB_TAKEN);
    fg_backend_model_abandon(&f.model, &f.jobs[0], 500 * FG_MS);
    assert_int_equal(f.outcomes[0], FG_JOB_DISOWNED);
    run_until(&f, 10 * FG_S);
    is_near(f.done_ns[1], 1.5);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_in_slots_and_the_rest_in_its_own_line),
        cmocka_unit_test(works_on_for_those_who_have_gone_unless_it_can_stop),
        cmocka_unit_test(faults_come_and_go),
        cmocka_unit_test(sequences_share_the_speed_of_the_batch),
        cmocka_unit_test(a_reserving_cache_starts_only_what_it_can_end),
        cmocka_unit_test(a_growing_cache_takes_the_work_of_the_newest),
        cmocka_unit_test(an_abandoned_sequence_makes_room_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
