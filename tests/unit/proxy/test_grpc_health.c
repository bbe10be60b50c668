/*
 * test_grpc_health.c: what is asked for, and which answers are SERVING.
 */
#include "proxy/grpc_health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void a_service_is_named_or_none(void **state)
{
    (void)state;
    unsigned char body[FG_GRPC_ASK_BYTES];
    assert_int_equal(fg_grpc_health_ask(FG_SPAN(""), body), 5);
    assert_memory_equal(body, "\0\0\0\0\0", 5);
    assert_int_equal(fg_grpc_health_ask(FG_SPAN("a.B"), body), 10);
    assert_memory_equal(body, "\0\0\0\0\5\12\3a.B", 10);
    char name[FG_GRPC_SERVICE_BYTES_MAX];
    memset(name, 'x', sizeof(name));
    assert_int_equal(fg_grpc_health_ask(fg_span_make(name, sizeof(name)), body), sizeof(body));
    assert_int_equal(body[4], 129);
    assert_int_equal(body[6], 127);
}

static bool says(const char *bytes, size_t len)
{
    return fg_grpc_health_is_serving((const unsigned char *)bytes, len);
}

#define SAYS(text) says((text), sizeof(text) - 1)

static void serving_is_one_whole_message_that_says_so(void **state)
{
    (void)state;
    assert_true(SAYS("\0\0\0\0\2\10\1"));
    assert_false(SAYS("\0\0\0\0\2\10\2")); /* NOT_SERVING */
    assert_false(SAYS("\0\0\0\0\0"));      /* UNKNOWN, which is not written */
    assert_false(SAYS(""));
    assert_false(SAYS("\0\0\0\0"));
    assert_false(SAYS("\1\0\0\0\2\10\1"));        /* compressed */
    assert_false(SAYS("\0\0\0\0\3\10\1"));        /* cut */
    assert_false(SAYS("\0\0\0\0\2\10\1\0"));      /* and another message begins */
    assert_true(SAYS("\0\0\0\0\7\22\3abc\10\1")); /* behind a field that is not known */
    assert_true(SAYS("\0\0\0\0\4\10\2\10\1"));    /* the last word counts */
    assert_true(SAYS("\0\0\0\0\3\10\201\0"));     /* a long way to write 1 */
    assert_true(SAYS("\0\0\0\0\20\25"
                     "abcd"
                     "\31"
                     "abcdefgh"
                     "\10\1"));
    assert_false(SAYS("\0\0\0\0\4\22\3ab")); /* a field longer than the message */
    assert_false(SAYS("\0\0\0\0\1\10"));
    assert_false(SAYS("\0\0\0\0\2\13\1")); /* a group */
    assert_false(SAYS("\0\0\0\0\14\10\201\200\200\200\200\200\200\200\200\200\0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_is_named_or_none),
        cmocka_unit_test(serving_is_one_whole_message_that_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
