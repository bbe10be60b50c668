/*
 * test_stream.c: how many streams a loop keeps when they are over.
 */
#include "fake_transport.h"

#include "http/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define FLOOD 3000u
#define KEPT_MAX 256u

static void acquire_all(struct fake *fake, struct fg_stream **streams)
{
    for (size_t i = 0; i < FLOOD; i++) {
        streams[i] = fg_stream_acquire(fake->codec, FG_HTTP_2, NULL);
        assert_non_null(streams[i]);
    }
}

static void keeps_few_of_a_flood_and_all_of_a_usual_load(void **state)
{
    (void)state;
    static struct fg_stream *streams[FLOOD];
    struct fake fake;
    fake_open(&fake, true, NULL);
    acquire_all(&fake, streams);
    assert_int_equal(fake.env.stream_count, FLOOD);
    for (size_t i = 0; i < FLOOD / 2; i++)
        fg_stream_release(streams[i]);
    assert_int_equal(fake.env.free_stream_count, FLOOD / 2); /* half of them may come again */
    for (size_t i = FLOOD / 2; i < FLOOD; i++)
        fg_stream_release(streams[i]);
    assert_int_equal(fake.env.stream_count, 0);
    assert_int_equal(fake.env.free_stream_count, KEPT_MAX);
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_few_of_a_flood_and_all_of_a_usual_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
