/*
 * static_files.c: the backend's outside: create, open on a loop, hand calls to the request, stats.
 * Thread   start-up for create and destroy; the event loops for the rest.
 * Never    reads a file on a loop.
 * Memory   per loop: up to 16 readers, 64 KiB each.
 */
#include "static/static_files.h"

#include "static_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    fg_static_request_serve_waiting(arg);
}

static struct fg_backend_thread *
thread_open(struct fg_backend *backend, const struct fg_backend_env *env, struct fg_error *error)
{
    assert(env->helper != NULL && env->mailbox != NULL);
    struct fg_static_thread *thread = calloc(1, sizeof(*thread));
    if (thread == NULL) {
        (void)fg_error_set(error, "no memory for the files of %s", backend->name);
        return NULL;
    }
    thread->base.backend = backend;
    thread->files = (struct fg_static *)backend;
    thread->env = *env;
    fg_list_init(&thread->free);
    fg_list_init(&thread->at_work);
    fg_list_init(&thread->waiting);
    event_assign(&thread->retry, env->base, -1, 0, on_retry, thread);
    if (!fg_static_slow_readers_init(thread)) {
        (void)fg_error_set(error, "no random numbers for the files of %s", backend->name);
        free(thread);
        return NULL;
    }
    return &thread->base;
}

/* Readers at work are left to themselves: their message finds no loop and frees them. */
static void thread_close(struct fg_backend_thread *base)
{
    struct fg_static_thread *thread = (struct fg_static_thread *)base;
    struct fg_list *link;
    assert(fg_list_is_empty(&thread->waiting));
    event_del(&thread->retry);
    fg_static_slow_readers_fini(thread);
    while ((link = fg_list_pop_front(&thread->free)) != NULL)
        fg_file_reader_destroy(FG_CONTAINER_OF(link, struct fg_file_reader, link));
    FG_LIST_EACH_SAFE(it, after, &thread->at_work)
    {
        fg_list_remove(it);
        FG_CONTAINER_OF(it, struct fg_file_reader, link)->thread = NULL;
    }
    free(thread);
}

static void start(struct fg_backend_thread *base, struct fg_exchange *ex)
{
    fg_static_request_start((struct fg_static_thread *)base, ex);
}

/* Nobody wants the body of a GET. */
static void on_body(struct fg_exchange *ex, const void *data, size_t len, bool is_last)
{
    (void)data;
    (void)is_last;
    if (ex->backend_state != NULL && len > 0)
        fg_exchange_consumed(ex, len);
}

static void on_writable(struct fg_exchange *ex)
{
    if (ex->backend_state != NULL)
        fg_static_request_on_writable(ex->backend_state);
}

static void cancel(struct fg_exchange *ex)
{
    if (ex->backend_state != NULL)
        fg_static_request_cancel(ex->backend_state);
}

static bool is_ready(struct fg_backend *backend, const char **why)
{
    (void)backend;
    *why = "ready";
    return true;
}

static void stats(struct fg_backend *backend, json_t *into)
{
    const struct fg_static *files = (const struct fg_static *)backend;
    const struct {
        const char *name;
        const struct fg_counter *counter;
    } numbers[] = {
        {"requests", &files->requests},
        {"served", &files->served},
        {"not_modified", &files->not_modified},
        {"partial", &files->partial},
        {"precompressed", &files->precompressed},
        {"not_found", &files->not_found},
        {"refused", &files->refused},
        {"busy", &files->busy},
        {"failed", &files->failed},
        {"cancelled", &files->cancelled},
        {"reads", &files->reads},
        {"sent_bytes", &files->sent_bytes},
        {"open_files", &files->open_files},
        {"gave_way", &files->gave_way},
        {"share_refused", &files->share_refused},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        json_object_set_new(into, numbers[i].name,
                            json_integer((json_int_t)fg_counter_get(numbers[i].counter)));
}

static void destroy(struct fg_backend *backend)
{
    struct fg_static *files = (struct fg_static *)backend;
    if (files == NULL)
        return;
    close(files->root_fd);
    free(files);
}

static const struct fg_backend_ops static_ops = {
    .kind = "static",
    .thread_open = thread_open,
    .thread_close = thread_close,
    .start = start,
    .on_body = on_body,
    .on_writable = on_writable,
    .cancel = cancel,
    .is_ready = is_ready,
    .stats = stats,
    .destroy = destroy,
};

struct fg_backend *fg_static_create(const char *name, const struct fg_static_conf *conf,
                                    struct fg_error *error)
{
    struct fg_static *files = calloc(1, sizeof(*files));
    if (files == NULL) {
        (void)fg_error_set(error, "no memory for the files of %s", name);
        return NULL;
    }
    files->base = (struct fg_backend){.ops = &static_ops, .name = name};
    files->conf = *conf;
    files->root_fd = open(conf->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (files->root_fd == -1) {
        (void)fg_error_set(error, "static %s: cannot open %s: %s; expected a directory", name,
                           conf->root, strerror(errno));
        free(files);
        return NULL;
    }
    return &files->base;
}
