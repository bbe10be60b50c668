/*
 * inference_fixture.c: sockets in a folder of its own, removed at the end.
 */
#include "inference_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    fg_mailbox_drain(arg);
}

static void on_guard(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static json_t *stats_of(struct fixture *f)
{
    json_t *stats = json_object();
    f->backend->ops->stats(f->backend, stats);
    return stats;
}

json_int_t fixture_number(struct fixture *f, const char *group, const char *name)
{
    json_t *stats = stats_of(f);
    json_t *value = json_object_get(json_object_get(stats, group), name);
    assert_true(json_is_integer(value));
    json_int_t result = json_integer_value(value);
    json_decref(stats);
    return result;
}

json_int_t fixture_refused(struct fixture *f, const char *reason)
{
    json_t *stats = stats_of(f);
    json_t *value =
        json_object_get(json_object_get(json_object_get(stats, "requests"), "refused"), reason);
    assert_true(json_is_integer(value));
    json_int_t result = json_integer_value(value);
    json_decref(stats);
    return result;
}

json_int_t fixture_of_worker(struct fixture *f, size_t worker, const char *name)
{
    json_t *stats = stats_of(f);
    json_int_t result = json_integer_value(
        json_object_get(json_array_get(json_object_get(stats, "workers"), worker), name));
    json_decref(stats);
    return result;
}

void fixture_open_backend(struct fixture *f)
{
    const char *paths[] = {f->paths[0], f->paths[1]};
    struct fg_error error;
    f->backend = fg_inference_create("inference", &f->conf, NULL, paths, &error);
    assert_non_null(f->backend);
    f->thread = f->backend->ops->thread_open(f->backend, &f->env, &error);
    assert_non_null(f->thread);
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    *state = f;
    f->base = event_base_new();
    if (fg_mailbox_init(&f->mailbox) != FG_OK)
        return -1;
    f->mailbox_event =
        event_new(f->base, f->mailbox.event_fd, EV_READ | EV_PERSIST, on_mail, &f->mailbox);
    event_add(f->mailbox_event, NULL);
    f->guard = event_new(f->base, -1, EV_PERSIST, on_guard, NULL);
    const struct timeval second = {1, 0};
    event_add(f->guard, &second);
    f->env = (struct fg_backend_env){
        .base = f->base, .mailbox = &f->mailbox, .thread_index = 0, .thread_count = 1};
    f->conf = (struct fg_inference_conf){.model = "/models/demo.gguf",
                                         .worker_count = 2,
                                         .sequences_max = 6,
                                         .max_tokens_default = 8,
                                         .max_tokens_limit = 16,
                                         .body_bytes_max = 256 * 1024,
                                         .logprobs_bytes_max = 1 << 20,
                                         .worker_hang_ns = 30 * FG_S};
    snprintf(f->directory, sizeof(f->directory), "/tmp/fg_inference_XXXXXX");
    if (mkdtemp(f->directory) == NULL)
        return -1;
    for (int i = 0; i < 2; i++) {
        snprintf(f->paths[i], sizeof(f->paths[i]), "%s/worker%d", f->directory, i);
        f->workers[i].fd = -1;
    }
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    if (f->backend != NULL) {
        f->backend->ops->thread_close(f->thread);
        f->backend->ops->destroy(f->backend);
    }
    for (int i = 0; i < 2; i++)
        fake_worker_close(&f->workers[i]);
    rmdir(f->directory);
    event_free(f->guard);
    event_free(f->mailbox_event);
    fg_mailbox_fini(&f->mailbox);
    event_base_free(f->base);
    libevent_global_shutdown();
    free(f);
    return 0;
}

void fixture_open_all(struct fixture *f, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++)
        fake_worker_open(&f->workers[i], f->base, f->paths[i]);
    fixture_open_backend(f);
    for (unsigned i = first; i < first + count; i++)
        RUN_UNTIL(f, fixture_of_worker(f, i, "connections") == 1);
}

struct fake_exchange *fixture_start_sized(struct fixture *f, unsigned slot, const char *path,
                                          const char *body, size_t arena_bytes_max)
{
    struct fake_exchange *fake = &f->exchanges[slot];
    fake_exchange_init(fake, path, arena_bytes_max);
    uint64_t bytes_max;
    assert_true(f->backend->ops->wants_body(f->thread, &fake->ex, &bytes_max));
    const struct fg_span whole = fg_arena_try_copy(&fake->arena, fg_span_from_string(body));
    if (strlen(body) > bytes_max || whole.data == NULL) { /* the gateway's answer, before it */
        fake->end = FAKE_REFUSED;
        fake->status = 413;
        return fake;
    }
    f->backend->ops->start(f->thread, &fake->ex);
    if (fake->end == FAKE_OPEN)
        f->backend->ops->on_body(&fake->ex, whole.data, whole.len, true);
    return fake;
}

struct fake_exchange *fixture_start(struct fixture *f, unsigned slot, const char *path,
                                    const char *body)
{
    return fixture_start_sized(f, slot, path, body, 4 << 20);
}

struct fake_exchange *fixture_start_chat(struct fixture *f, unsigned slot, const char *extra)
{
    char body[512];
    snprintf(body, sizeof(body), CHAT "%s}", extra);
    return fixture_start(f, slot, "/v1/chat/completions", body);
}

/* All deltas of a stream put together; true when it ended with [DONE]. */
static bool text_of_stream(const struct fake_exchange *fake, char *text, size_t room)
{
    static char copy[sizeof(fake->body)];
    bool is_done = false;
    memcpy(copy, fake->body, fake->body_len + 1);
    text[0] = '\0';
    char *line = copy;
    for (char *end; (end = strstr(line, "\n\n")) != NULL; line = end + 2) {
        *end = '\0';
        assert_int_equal(strncmp(line, "data: ", 6), 0);
        assert_false(is_done);
        if (strcmp(line + 6, "[DONE]") == 0) {
            is_done = true;
            continue;
        }
        json_t *root = json_loads(line + 6, 0, NULL);
        assert_non_null(root);
        json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
        json_t *content = json_object_get(json_object_get(choice, "delta"), "content");
        if (content != NULL)
            strncat(text, json_string_value(content), room - strlen(text) - 1);
        json_decref(root);
    }
    assert_int_equal(line[0], '\0');
    return is_done;
}

void fixture_assert_stream(const struct fake_exchange *fake, const char *expected)
{
    char text[4096];
    assert_int_equal(fake->end, FAKE_ENDED);
    assert_true(text_of_stream(fake, text, sizeof(text)));
    assert_string_equal(text, expected);
}

char *fixture_long_body(size_t len)
{
    char *body = malloc(len + 64);
    size_t used = (size_t)snprintf(body, 64, "{\"stream\":true,\"prompt\":\"");
    memset(body + used, 'p', len);
    memcpy(body + used + len, "\"}", 3);
    return body;
}
