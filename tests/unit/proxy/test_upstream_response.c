/*
 * test_upstream_response.c: answers that must not be taken, and the limits of those that may.
 */
#include "proxy/upstream_response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

struct reader {
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_upstream_response response;
    size_t body_len;
    size_t head_count;
    size_t interim_count;
};

static void open_reader(struct reader *reader, size_t head_bytes_max, bool is_head_request)
{
    *reader = (struct reader){0};
    fg_arena_pool_init(&reader->pool, 64);
    fg_arena_init(&reader->arena, &reader->pool, 1 << 20);
    fg_upstream_response_init(&reader->response, &reader->arena, head_bytes_max, is_head_request);
}

static void close_reader(struct reader *reader)
{
    fg_arena_fini(&reader->arena);
    fg_arena_pool_fini(&reader->pool);
}

static enum fg_upstream_result feed(struct reader *reader, const char *text, size_t len)
{
    struct fg_span input = fg_span_make(text, len);
    for (;;) {
        struct fg_span data = {NULL, 0};
        enum fg_upstream_result result =
            fg_upstream_response_next(&reader->response, &input, &data);
        if (result == FG_UPSTREAM_HEAD)
            reader->head_count++;
        else if (result == FG_UPSTREAM_INTERIM)
            reader->interim_count++;
        else if (result == FG_UPSTREAM_DATA)
            reader->body_len += data.len;
        else
            return result;
    }
}

static bool has_same_head(const struct fg_upstream_response *a,
                          const struct fg_upstream_response *b)
{
    bool is_same = a->status == b->status && a->field_count == b->field_count &&
                   a->content_length == b->content_length && a->framing == b->framing &&
                   a->may_keep_alive == b->may_keep_alive && a->head_bytes == b->head_bytes;
    for (size_t i = 0; is_same && i < a->field_count; i++)
        is_same = fg_span_equal(a->fields[i].name, b->fields[i].name) &&
                  fg_span_equal(a->fields[i].value, b->fields[i].value);
    return is_same;
}

/* The same with what is remembered of all answers before, and then of this one. */
static void read_with_memory(const char *text, size_t len, bool is_head_request,
                             size_t head_bytes_max, const struct reader *as,
                             enum fg_upstream_result result)
{
    static struct fg_known_lines known;
    for (unsigned times = 0; times < 2; times++) {
        struct reader again;
        open_reader(&again, head_bytes_max, is_head_request);
        again.response.known = &known;
        assert_int_equal(feed(&again, text, len), result);
        assert_int_equal(again.body_len, as->body_len);
        assert_int_equal(again.head_count, as->head_count);
        assert_int_equal(again.interim_count, as->interim_count);
        if (result != FG_UPSTREAM_BAD)
            assert_true(has_same_head(&again.response, &as->response));
        else
            assert_string_equal(again.response.error, as->response.error);
        close_reader(&again);
    }
}

/* Whole, and byte by byte: both must say the same. */
static enum fg_upstream_result read_all(const char *text, size_t len, bool is_head_request,
                                        size_t head_bytes_max)
{
    struct reader whole, bytes;
    open_reader(&whole, head_bytes_max, is_head_request);
    open_reader(&bytes, head_bytes_max, is_head_request);
    enum fg_upstream_result of_whole = feed(&whole, text, len);
    enum fg_upstream_result of_bytes = FG_UPSTREAM_MORE;
    for (size_t i = 0; i < len && of_bytes == FG_UPSTREAM_MORE; i++)
        of_bytes = feed(&bytes, text + i, 1);
    assert_int_equal(of_whole, of_bytes);
    assert_int_equal(whole.body_len, bytes.body_len);
    assert_true(of_whole != FG_UPSTREAM_BAD || whole.response.error != NULL);
    read_with_memory(text, len, is_head_request, head_bytes_max, &whole, of_whole);
    close_reader(&whole);
    close_reader(&bytes);
    return of_whole;
}

#define OK "HTTP/1.1 200 OK\r\n"

static void malformed_answers_are_refused(void **state)
{
    static const struct fg_span cases[] = {
        FG_SPAN_LITERAL("\r\nHTTP/1.1 200 OK\r\n\r\n"),
        FG_SPAN_LITERAL(" HTTP/1.1 200 OK\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1 200 OK\n\n"),
        FG_SPAN_LITERAL("HTTP/1.1 200 OK\r\na: b\n\r\n"),
        FG_SPAN_LITERAL("HTTP/2.0 200 OK\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/0.9 200 OK\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1 \r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1  200 OK\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1\t200 OK\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.10 200 OK\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.x 200 OK\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1 200\tOK\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1 103 Early\r\nContent-Length: 1, 1\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1 103 Early\r\nTransfer-Encoding: gzip\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1 20 OK\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1 2000 OK\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1 099 Low\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1 600 High\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1 abc\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1200 OK\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        FG_SPAN_LITERAL("\x16\x03\x01\x02\x00"),
        FG_SPAN_LITERAL("SSH-2.0-OpenSSH\r\n"),
        FG_SPAN_LITERAL("GET / HTTP/1.1\r\n\r\n"),
        FG_SPAN_LITERAL(OK "a\r\n\r\n"),
        FG_SPAN_LITERAL(OK ": b\r\n\r\n"),
        FG_SPAN_LITERAL(OK " : b\r\n\r\n"),
        FG_SPAN_LITERAL(OK "a b : c\r\n\r\n"),
        FG_SPAN_LITERAL(OK "a \r\n\r\n"),
        FG_SPAN_LITERAL(OK "Content-Length: 2\r\nContent-Length : 2\r\n\r\nok"),
        FG_SPAN_LITERAL(OK "Content-Length: 2\r\nTransfer-Encoding : chunked\r\n\r\nok"),
        FG_SPAN_LITERAL(OK "a b: c\r\n\r\n"),
        FG_SPAN_LITERAL(OK "a: b\r\n c\r\n\r\n"),
        FG_SPAN_LITERAL(OK " a: b\r\n\r\n"),
        FG_SPAN_LITERAL(OK "a: b\rc: d\r\n\r\n"),
        FG_SPAN_LITERAL(OK "a: b\0c\r\n\r\n"),
        FG_SPAN_LITERAL(OK "a: b\x7f\r\n\r\n"),
        FG_SPAN_LITERAL(OK "a: b\x01\r\n\r\n"),
        FG_SPAN_LITERAL(OK "a(b): c\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        FG_SPAN_LITERAL(OK "Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
        FG_SPAN_LITERAL(OK "Content-Length: 1, 1\r\n\r\na"),
        FG_SPAN_LITERAL(OK "Content-Length: -1\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Content-Length: +1\r\n\r\na"),
        FG_SPAN_LITERAL(OK "Content-Length: 0x1\r\n\r\na"),
        FG_SPAN_LITERAL(OK "Content-Length: 1 1\r\n\r\na"),
        FG_SPAN_LITERAL(OK "Content-Length:\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Content-Length: 99999999999999999999\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Content-Length: 9223372036854775807\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: gzip\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\ng\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n-1\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n 1\r\na\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n1 \r\na\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n1\na\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n1\r\na\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n1\ra"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n1;a=\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n0\r\n a: b\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n0\r\na: \0\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n0\r\n\rx"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n0\r\na\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n0\r\na : b\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n1;\r\na\r\n0\r\n\r\n"),
        FG_SPAN_LITERAL(OK "Transfer-Encoding: chunked\r\n\r\n1;a=\"b\r\na\r\n0\r\n\r\n"),
        FG_SPAN_LITERAL("HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (read_all(cases[i].data, cases[i].len, false, 4096) != FG_UPSTREAM_BAD)
            fail_msg("taken: case %zu: %.*s", i, FG_SPAN_ARGS(cases[i]));
    }
}

static void odd_but_legal_answers_are_taken(void **state)
{
    static const char *const cases[] = {
        "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 299 \xc3\xa9\r\ncontent-length: 0\r\n\r\n",
        OK "CONTENT-length:  1  \r\n\r\na",
        OK "a:\r\nb: \r\nContent-Length: 0\r\n\r\n",
        OK "Transfer-Encoding: Chunked\r\n\r\n00001\r\na\r\n000\r\n\r\n",
        OK "Transfer-Encoding: chunked\r\n\r\nA;x=\"y\"\r\n0123456789\r\n0;z\r\nt: u\r\nv:\r\n\r\n",
        "HTTP/1.1 304 N\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.2 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        OK "Connection: close, , x\r\nContent-Length: 0\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (read_all(cases[i], strlen(cases[i]), false, 4096) != FG_UPSTREAM_DONE)
            fail_msg("not taken: %s", cases[i]);
    }
}

static void the_head_limit_is_exact(void **state)
{
    static const char text[] = OK "content-length: 0\r\n\r\n";
    (void)state;
    size_t len = sizeof(text) - 1;
    assert_int_equal(read_all(text, len, false, len), FG_UPSTREAM_DONE);
    assert_int_equal(read_all(text, len, false, len - 1), FG_UPSTREAM_BAD);
}

static void interim_answers_count_for_the_limit(void **state)
{
    static const char interim[] = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    struct reader reader;
    (void)state;
    open_reader(&reader, 256, false);
    enum fg_upstream_result result = FG_UPSTREAM_MORE;
    size_t count = 0;
    for (; result == FG_UPSTREAM_MORE; count++)
        result = feed(&reader, interim, sizeof(interim) - 1);
    assert_int_equal(result, FG_UPSTREAM_BAD);
    assert_int_equal(count, 256 / (sizeof(interim) - 1) + 1);
    assert_int_equal(reader.interim_count, count - 1);
    assert_int_equal(reader.head_count, 0);
    close_reader(&reader);
}

static void interim_answers_are_few(void **state)
{
    static const char hints[] = "HTTP/1.1 103 Early Hints\r\nlink: x\r\ncontent-length: 3\r\n\r\n";
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct reader reader;
    (void)state;
    open_reader(&reader, 65536, false);
    assert_int_equal(feed(&reader, go_on, sizeof(go_on) - 1), FG_UPSTREAM_MORE);
    assert_int_equal(reader.interim_count, 0);
    assert_int_equal(feed(&reader, hints, sizeof(hints) - 1), FG_UPSTREAM_MORE);
    assert_int_equal(reader.interim_count, 1);
    assert_int_equal(reader.response.status, 103);
    assert_int_equal(reader.response.field_count, 1);
    for (unsigned i = 2; i < 16; i++)
        assert_int_equal(feed(&reader, hints, sizeof(hints) - 1), FG_UPSTREAM_MORE);
    assert_int_equal(feed(&reader, hints, sizeof(hints) - 1), FG_UPSTREAM_BAD);
    close_reader(&reader);
}

static void trailers_are_kept_but_for_those_of_framing(void **state)
{
    static const char text[] =
        OK "transfer-encoding: chunked\r\n\r\n1;a;b=c; d=\"e\\\"f\"\r\nx\r\n0\r\nGrpc-Status: 0\r\n"
           "Content-Length: 7\r\nX-Sum:  abc \r\n\r\n";
    (void)state;
    for (size_t step = 1; step < sizeof(text); step++) {
        struct reader reader;
        open_reader(&reader, 4096, false);
        enum fg_upstream_result result = FG_UPSTREAM_MORE;
        for (size_t at = 0; at < sizeof(text) - 1; at += step) {
            size_t left = sizeof(text) - 1 - at;
            result = feed(&reader, text + at, left < step ? left : step);
        }
        assert_int_equal(result, FG_UPSTREAM_DONE);
        const struct fg_trailers *trailers = &reader.response.trailers;
        assert_int_equal(trailers->count, 2);
        assert_true(fg_span_equal(trailers->fields[0].name, FG_SPAN("grpc-status")));
        assert_true(fg_span_equal(trailers->fields[1].name, FG_SPAN("x-sum")));
        assert_true(fg_span_equal(trailers->fields[1].value, FG_SPAN("abc")));
        close_reader(&reader);
    }
}

static void a_switch_is_taken_where_it_was_asked_for(void **state)
{
    static const struct {
        const char *text;
        bool is_taken;
    } cases[] = {
        {"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nxyz", true},
        {"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n", false},
        {"HTTP/1.1 101 S\r\nConnection: upgrade\r\n\r\n", false},
        {"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader reader;
        open_reader(&reader, 4096, false);
        reader.response.is_upgrade_request = true;
        assert_int_equal(feed(&reader, cases[i].text, strlen(cases[i].text)),
                         cases[i].is_taken ? FG_UPSTREAM_MORE : FG_UPSTREAM_BAD);
        assert_int_equal(reader.body_len, cases[i].is_taken ? 3 : 0);
        assert_int_equal(fg_upstream_response_ends_at_eof(&reader.response), cases[i].is_taken);
        close_reader(&reader);
    }
}

static void too_many_fields_are_refused(void **state)
{
    char text[2048];
    size_t len = (size_t)snprintf(text, sizeof(text), OK);
    (void)state;
    for (unsigned i = 0; i < 257; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "a:b\r\n");
    len += (size_t)snprintf(text + len, sizeof(text) - len, "\r\n");
    assert_int_equal(read_all(text, len, false, 4096), FG_UPSTREAM_BAD);
}

static void a_full_arena_is_no_memory(void **state)
{
    static const char text[] = OK "content-length: 0\r\n\r\n";
    (void)state;
    for (size_t bytes = 0; bytes < 80; bytes += 16) {
        struct reader reader;
        open_reader(&reader, 4096, false);
        reader.arena.bytes_max = bytes;
        assert_int_equal(feed(&reader, text, sizeof(text) - 1), FG_UPSTREAM_NO_MEMORY);
        close_reader(&reader);
    }
}

static void only_an_unframed_body_ends_at_eof(void **state)
{
    static const struct {
        const char *text;
        bool ends;
    } cases[] = {
        {"", false},
        {"HTTP/1.1 200 OK\r\n", false},
        {OK "\r\n", true},
        {OK "\r\nabc", true},
        {OK "content-length: 3\r\n\r\nab", false},
        {OK "transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", false},
        {"HTTP/1.1 100 Continue\r\n\r\n", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader reader;
        open_reader(&reader, 4096, false);
        assert_int_equal(feed(&reader, cases[i].text, strlen(cases[i].text)), FG_UPSTREAM_MORE);
        assert_int_equal(fg_upstream_response_ends_at_eof(&reader.response), cases[i].ends);
        close_reader(&reader);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_answers_are_refused),
        cmocka_unit_test(odd_but_legal_answers_are_taken),
        cmocka_unit_test(the_head_limit_is_exact),
        cmocka_unit_test(interim_answers_count_for_the_limit),
        cmocka_unit_test(interim_answers_are_few),
        cmocka_unit_test(trailers_are_kept_but_for_those_of_framing),
        cmocka_unit_test(a_switch_is_taken_where_it_was_asked_for),
        cmocka_unit_test(too_many_fields_are_refused),
        cmocka_unit_test(a_full_arena_is_no_memory),
        cmocka_unit_test(only_an_unframed_body_ends_at_eof),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
