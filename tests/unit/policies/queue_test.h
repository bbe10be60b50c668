/*
 * queue_test.h: what the tests of the admission queue begin with.
 */
#ifndef FG_TESTS_QUEUE_TEST_H
#define FG_TESTS_QUEUE_TEST_H

#include "policies/admission_queue.h"
#include "policy_test.h"

static inline struct fg_queue_config plain(uint32_t capacity)
{
    return (struct fg_queue_config){.capacity = capacity};
}

static inline struct fg_queue_config with_codel(uint32_t capacity)
{
    return (struct fg_queue_config){
        .capacity = capacity, .target_ns = 5 * MS, .interval_ns = 100 * MS};
}

static inline void push(struct fg_admission_queue *queue, struct fg_queue_entry *entry,
                        enum fg_priority priority, uint64_t now_ns)
{
    struct fg_queue_entry *displaced;
    assert_int_equal(
        fg_admission_queue_push(queue, entry, priority, now_ns, FG_POLICY_NEVER, &displaced),
        FG_QUEUE_QUEUED);
    assert_null(displaced);
}

/* More come than are served: those here may not wait. */
static inline void feed(struct fg_admission_queue *queue, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fg_admission_queue_note_refused(queue, FG_PRIORITY_NORMAL);
}

static inline struct fg_queue_entry *pop(struct fg_admission_queue *queue, uint64_t now_ns)
{
    struct fg_queue_entry *refused;
    struct fg_queue_entry *entry = fg_admission_queue_pop(queue, now_ns, &refused);
    assert_null(refused);
    return entry;
}

#endif
