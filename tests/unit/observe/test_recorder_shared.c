/*
 * test_recorder_shared.c: the last requests are found, older ones are gone, and a reader never sees
 * half of one.
 */
#include "observe/recorder_shared.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void add(struct fg_recorder *recorder, unsigned number, size_t decisions)
{
    struct fg_record *record = fg_recorder_next(recorder);
    record->status = number;
    record->decision_count = decisions;
    snprintf(record->request_id, sizeof(record->request_id), "id-%u", number);
    for (size_t i = 0; i < decisions; i++)
        record->decisions[i] = (struct fg_decision){.stage = "s", .value = number};
    fg_recorder_add(recorder);
}

static bool find(struct fg_recorder *recorder, unsigned number, struct fg_record *record)
{
    char id[32];
    snprintf(id, sizeof(id), "id-%u", number);
    return fg_recorder_find(recorder, fg_span_from_string(id), record);
}

static void keeps_the_newest(void **state)
{
    (void)state;
    struct fg_recorder *recorder = fg_recorder_create(3);
    struct fg_record record;
    fg_recorder_next(recorder)->status = 99;
    memcpy(fg_recorder_next(recorder)->request_id, "id-1", 5);
    assert_false(find(recorder, 1, &record)); /* it is not added yet */
    for (unsigned i = 1; i <= 5; i++)
        add(recorder, i, i % (FG_DECISIONS_MAX + 1));
    for (unsigned i = 1; i <= 5; i++) {
        assert_int_equal(find(recorder, i, &record), i > 2);
        if (i > 2) {
            assert_int_equal(record.status, i);
            assert_int_equal(record.decision_count, i);
            assert_int_equal(record.decisions[i - 1].value, i);
        }
    }
    assert_false(fg_recorder_find(recorder, FG_SPAN("id-"), &record));
    assert_false(fg_recorder_find(recorder, FG_SPAN("id-55"), &record));
    fg_recorder_destroy(recorder);
    fg_recorder_destroy(NULL);
}

static void *write_many(void *arg)
{
    for (unsigned i = 0; i < 20000; i++)
        add(arg, i % 50, FG_DECISIONS_MAX);
    return NULL;
}

static void no_reader_sees_half_of_one(void **state)
{
    (void)state;
    struct fg_recorder *recorder = fg_recorder_create(8);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_many, recorder), 0);
    for (unsigned i = 0; i < 5000; i++) {
        struct fg_record record;
        if (!find(recorder, i % 50, &record))
            continue;
        assert_int_equal(record.status, i % 50);
        for (size_t k = 0; k < record.decision_count; k++)
            assert_int_equal(record.decisions[k].value, i % 50);
    }
    pthread_join(writer, NULL);
    fg_recorder_destroy(recorder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_newest),
        cmocka_unit_test(no_reader_sees_half_of_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
