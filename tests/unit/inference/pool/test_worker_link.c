/*
 * test_worker_link.c: frames cut from pieces, output that nobody reads, ends of connections.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "inference/worker/worker_link.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUTPUT_MAX ((size_t)1 << 20)

struct fixture {
    struct event_base *base;
    struct fg_worker_link *link;
    int peer;
    uint32_t frames;
    size_t last_payload;
    uint64_t last_id;
    bool refuses;
};

static bool on_frame(struct fg_worker_link *link, const struct fg_channel_header *header,
                     struct fg_span payload, void *owner)
{
    struct fixture *f = owner;
    assert_ptr_equal(link, f->link);
    assert_int_equal(payload.len, header->payload_bytes);
    for (size_t i = 0; i < payload.len; i++)
        assert_int_equal((unsigned char)payload.data[i], (unsigned char)(header->request_id + i));
    f->frames++;
    f->last_payload = payload.len;
    f->last_id = header->request_id;
    return !f->refuses;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int fds[2];
    f->base = event_base_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    f->peer = fds[0];
    struct fg_worker_link_options options = {f->base, fds[1], 77, OUTPUT_MAX, on_frame, f};
    f->link = fg_worker_link_create(&options);
    assert_non_null(f->link);
    assert_int_equal(fg_worker_link_key(f->link), 77);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fg_worker_link_destroy(f->link);
    fg_worker_link_destroy(NULL);
    close(f->peer);
    event_base_free(f->base);
    free(f);
    return 0;
}

static void turn(struct fixture *f)
{
    assert_int_not_equal(event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK), -1);
}

/* A frame of type SUBMIT whose payload on_frame can check. */
static size_t make_frame(unsigned char *out, size_t payload_bytes, uint64_t id)
{
    memset(out, 0, FG_CHANNEL_HEADER_BYTES);
    for (int i = 0; i < 4; i++)
        out[i] = (unsigned char)(payload_bytes >> (8 * i));
    out[4] = FG_CHANNEL_SUBMIT;
    for (int i = 0; i < 8; i++)
        out[8 + i] = (unsigned char)(id >> (8 * i));
    for (size_t i = 0; i < payload_bytes; i++)
        out[FG_CHANNEL_HEADER_BYTES + i] = (unsigned char)(id + i);
    return FG_CHANNEL_HEADER_BYTES + payload_bytes;
}

static void frames_in_any_pieces(void **state)
{
    struct fixture *f = *state;
    unsigned char bytes[400];
    size_t count = make_frame(bytes, 100, 5);
    count += make_frame(bytes + count, 0, 6);
    count += make_frame(bytes + count, 33, 7);
    for (size_t i = 0; i < count; i++) { /* byte by byte */
        assert_int_equal(send(f->peer, bytes + i, 1, 0), 1);
        turn(f);
    }
    assert_int_equal(f->frames, 3);
    assert_int_equal(f->last_id, 7);
    assert_int_equal(send(f->peer, bytes, count, 0), count); /* all at once */
    turn(f);
    assert_int_equal(f->frames, 6);
    assert_false(fg_worker_link_is_closing(f->link));
}

static void the_largest_frame_and_small_ones_after_it(void **state)
{
    struct fixture *f = *state;
    unsigned char *bytes = malloc(FG_CHANNEL_HEADER_BYTES + FG_CHANNEL_PAYLOAD_MAX);
    size_t count = make_frame(bytes, FG_CHANNEL_PAYLOAD_MAX, 9);
    size_t sent = 0;
    while (f->frames == 0) {
        ssize_t got = sent < count ? send(f->peer, bytes + sent, count - sent, 0) : 0;
        sent += got > 0 ? (size_t)got : 0;
        turn(f);
        assert_false(fg_worker_link_is_closing(f->link));
    }
    assert_int_equal(f->last_payload, FG_CHANNEL_PAYLOAD_MAX);
    count = make_frame(bytes, 10, 10);
    assert_int_equal(send(f->peer, bytes, count, 0), count);
    turn(f);
    assert_int_equal(f->frames, 2);
    free(bytes);
}

static void bad_frames_and_ends_close(void **state)
{
    struct fixture *f = *state;
    unsigned char bytes[FG_CHANNEL_HEADER_BYTES] = {0};
    assert_int_equal(send(f->peer, bytes, sizeof(bytes), 0), sizeof(bytes)); /* type 0 */
    turn(f);
    assert_true(fg_worker_link_is_closing(f->link));
    assert_null(fg_worker_link_reserve(f->link, 10));
    assert_true(fg_worker_link_is_flushed(f->link));
    turn(f); /* nothing more happens to it */
    assert_int_equal(f->frames, 0);
}

static void a_frame_that_the_owner_refuses_closes(void **state)
{
    struct fixture *f = *state;
    unsigned char bytes[200];
    f->refuses = true;
    size_t count = make_frame(bytes, 10, 1);
    count += make_frame(bytes + count, 10, 2);
    assert_int_equal(send(f->peer, bytes, count, 0), count);
    turn(f);
    assert_int_equal(f->frames, 1); /* none after it */
    assert_true(fg_worker_link_is_closing(f->link));
}

static void the_peers_end_closes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(shutdown(f->peer, SHUT_WR), 0);
    turn(f);
    assert_true(fg_worker_link_is_closing(f->link));
}

static void output_comes_out_in_order(void **state)
{
    struct fixture *f = *state;
    unsigned char bytes[64];
    size_t sent = 0;
    size_t got = 0;
    unsigned char *received = malloc(OUTPUT_MAX);
    for (unsigned i = 0; i < 9000; i++) { /* more than the socket holds */
        size_t count = make_frame(bytes, 40, i);
        unsigned char *out = fg_worker_link_reserve(f->link, count + 30);
        assert_non_null(out);
        memcpy(out, bytes, count);
        fg_worker_link_commit(f->link, count);
        sent += count;
        if (i % 100 == 0)
            fg_worker_link_flush(f->link);
    }
    while (got < sent) {
        fg_worker_link_flush(f->link);
        ssize_t count = recv(f->peer, received + got, OUTPUT_MAX - got, 0);
        got += count > 0 ? (size_t)count : 0;
        turn(f);
    }
    assert_true(fg_worker_link_is_flushed(f->link));
    for (unsigned i = 0; i < 9000; i++) {
        size_t count = make_frame(bytes, 40, i);
        assert_memory_equal(received + i * count, bytes, count);
    }
    free(received);
}

static void a_peer_that_does_not_read_is_given_up(void **state)
{
    struct fixture *f = *state;
    size_t written = 0;
    unsigned char *out;
    while ((out = fg_worker_link_reserve(f->link, 1000)) != NULL) {
        memset(out, 0, 1000);
        fg_worker_link_commit(f->link, 1000);
        fg_worker_link_flush(f->link);
        written += 1000;
        assert_true(written < 16 * OUTPUT_MAX);
    }
    assert_true(written >= OUTPUT_MAX / 1000 * 1000);
    assert_true(fg_worker_link_is_closing(f->link));
}

int main(void)
{
#define WITH_LINK(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_LINK(frames_in_any_pieces),
        WITH_LINK(the_largest_frame_and_small_ones_after_it),
        WITH_LINK(bad_frames_and_ends_close),
        WITH_LINK(a_frame_that_the_owner_refuses_closes),
        WITH_LINK(the_peers_end_closes),
        WITH_LINK(output_comes_out_in_order),
        WITH_LINK(a_peer_that_does_not_read_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
