/*
 * test_helper_pool_shared.c: jobs run elsewhere, replies come home, the bound holds, and the end
 * finishes what was taken on.
 */
#include "base/counters_shared.h"
#include "base/helper_pool_shared.h"
#include "base/list.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
#include <cmocka.h>

struct job {
    struct fg_helper_job job;
    pthread_mutex_t *gate;
    pthread_t ran_on;
    int niceness;
    bool is_done;
};

static void work(struct fg_helper_job *base)
{
    struct job *job = FG_CONTAINER_OF(base, struct job, job);
    if (job->gate != NULL) {
        pthread_mutex_lock(job->gate);
        pthread_mutex_unlock(job->gate);
    }
    job->ran_on = pthread_self();
    job->niceness = getpriority(PRIO_PROCESS, 0);
}

static void done(struct fg_message *message)
{
    struct fg_helper_job *base = FG_CONTAINER_OF(message, struct fg_helper_job, message);
    FG_CONTAINER_OF(base, struct job, job)->is_done = true;
}

static void bounds_and_finishes(void **state)
{
    (void)state;
    struct fg_mailbox box;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    struct job jobs[6] = {0};
    assert_int_equal(fg_mailbox_init(&box), FG_OK);
    struct fg_helper_pool *pool = fg_helper_pool_create(1, 2);
    assert_non_null(pool);
    pthread_mutex_lock(&gate); /* the one helper sticks in the first job that it takes */
    unsigned taken = 0, refused = 0;
    for (unsigned i = 0; i < 6; i++) {
        jobs[i].job =
            (struct fg_helper_job){.message = {.run = done}, .work = work, .reply_to = &box};
        jobs[i].gate = &gate;
        if (fg_helper_pool_try_submit(pool, &jobs[i].job) == FG_OK)
            taken++;
        else
            refused++;
    }
    assert_true(taken >= 2 && taken <= 3); /* two wait, one may have been taken on */
    assert_int_equal(taken + refused, 6);
    pthread_mutex_unlock(&gate);
    fg_helper_pool_destroy(pool);
    fg_mailbox_drain(&box);
    unsigned finished = 0;
    for (unsigned i = 0; i < 6; i++) {
        if (jobs[i].is_done) {
            finished++;
            assert_false(pthread_equal(jobs[i].ran_on, pthread_self()));
        }
    }
    assert_int_equal(finished, taken);
    fg_mailbox_fini(&box);
}

typedef enum fg_status (*submit_fn)(struct fg_helper_pool *pool, struct fg_helper_job *job);

static void holds_up_no_other_work(submit_fn submit)
{
    struct fg_mailbox box;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    struct job jobs[6] = {0};
    struct job other = {.job = {.message = {.run = done}, .work = work, .reply_to = &box}};
    assert_int_equal(fg_mailbox_init(&box), FG_OK);
    struct fg_helper_pool *pool = fg_helper_pool_create(1, 6);
    assert_non_null(pool);
    pthread_mutex_lock(&gate);
    for (unsigned i = 0; i < 6; i++) {
        jobs[i].job =
            (struct fg_helper_job){.message = {.run = done}, .work = work, .reply_to = &box};
        jobs[i].gate = &gate;
        assert_int_equal(submit(pool, &jobs[i].job), FG_OK);
    }
    assert_int_equal(fg_helper_pool_try_submit(pool, &other.job), FG_OK);
    struct pollfd posted = {.fd = box.event_fd, .events = POLLIN};
    assert_int_equal(poll(&posted, 1, 60000), 1);
    fg_mailbox_drain(&box);
    assert_true(other.is_done);
    pthread_mutex_unlock(&gate);
    fg_helper_pool_destroy(pool);
    fg_mailbox_drain(&box);
    for (unsigned i = 0; i < 6; i++)
        assert_true(jobs[i].is_done);
    fg_mailbox_fini(&box);
}

static void lookups_that_hang_hold_up_no_other_work(void **state)
{
    (void)state;
    holds_up_no_other_work(fg_helper_pool_try_look_up);
}

static void long_work_holds_up_no_other_work(void **state)
{
    (void)state;
    holds_up_no_other_work(fg_helper_pool_try_long);
}

static int niceness_of(submit_fn submit)
{
    struct fg_mailbox box;
    struct job job = {.job = {.message = {.run = done}, .work = work, .reply_to = &box}};
    assert_int_equal(fg_mailbox_init(&box), FG_OK);
    struct fg_helper_pool *pool = fg_helper_pool_create(1, 1);
    assert_non_null(pool);
    assert_int_equal(submit(pool, &job.job), FG_OK);
    fg_helper_pool_destroy(pool);
    fg_mailbox_drain(&box);
    assert_true(job.is_done);
    fg_mailbox_fini(&box);
    return job.niceness;
}

static void long_work_gives_way_to_loops(void **state)
{
    (void)state;
    int ours = getpriority(PRIO_PROCESS, 0);
    int most = 19;
    assert_int_equal(niceness_of(fg_helper_pool_try_submit), ours);
    assert_int_equal(niceness_of(fg_helper_pool_try_look_up), ours);
    assert_int_equal(niceness_of(fg_helper_pool_try_long), ours + 10 < most ? ours + 10 : most);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), ours);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_and_finishes),
        cmocka_unit_test(lookups_that_hang_hold_up_no_other_work),
        cmocka_unit_test(long_work_holds_up_no_other_work),
        cmocka_unit_test(long_work_gives_way_to_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
