/*
 * static_request.c: one exchange, from the path to the last byte of the file.
 * Job      have the file opened and read piece by piece in the helper pool, pass each piece on,
 *          stop while the client takes no more.
 * Thread   the exchange's loop; only fg_file_read_in_helper runs elsewhere.
 * Never    reads a file on the loop; follows a link; serves a name that begins with a dot.
 * Memory   the exchange's arena, and a reader while a piece is under way.
 *
 *    start --> [reader: open, stat, first piece] --> head --> write --> [reader: next piece] -->
 * end cancel takes the request out of its reader, whose result is thrown away when it comes.
 *
 * A function that can end the exchange returns with `request` gone.
 */
#include "static_internal.h"

#include "backends/own_limits.h"
#include "base/clock.h"

#include <assert.h>
#include <unistd.h>

#define RETRY_US 2000

static void read_next(struct fg_static_request *request);

/* ---- ending ---- */

static void close_file(struct fg_static_request *request)
{
    if (request->is_counted)
        fg_counter_sub(&request->thread->files->open_files, 1);
    request->is_counted = false;
    if (request->fd != -1)
        close(request->fd);
    request->fd = -1;
}

/* The reader has given back; puts the rest away but the exchange. */
static struct fg_exchange *let_go(struct fg_static_request *request)
{
    assert(request->reader == NULL);
    fg_list_remove(&request->link);
    fg_static_forget(request);
    close_file(request);
    request->ex->backend_state = NULL;
    return request->ex;
}

static void fail(struct fg_static_request *request, enum fg_failure failure, const char *detail)
{
    fg_counter_add(&request->thread->files->failed, 1);
    fg_exchange_fail(let_go(request), failure, detail);
}

static void refuse(struct fg_static_request *request, unsigned status, const char *code,
                   const char *message)
{
    struct fg_static *files = request->thread->files;
    fg_counter_add(status == 404 ? &files->not_found : &files->refused, 1);
    fg_exchange_refuse(let_go(request), &(struct fg_backend_refusal){
                                            .status = status,
                                            .type = "invalid_request",
                                            .code = code,
                                            .message = message,
                                        });
}

static void refuse_missing(struct fg_static_request *request)
{
    refuse(request, 404, "not_found", "there is no such file");
}

/* ---- the answer ---- */

/* "docs" becomes "./docs/": relative, since the path may have lost a prefix on its way here. */
static void redirect_to_directory(struct fg_static_request *request)
{
    struct fg_exchange *ex = request->ex;
    size_t begin = ex->path.len;
    if (begin == 0 || ex->path.data[begin - 1] == '/') {
        refuse_missing(request); /* the index itself is a directory */
        return;
    }
    while (begin > 0 && ex->path.data[begin - 1] != '/')
        begin--;
    struct fg_span last = fg_span_make(ex->path.data + begin, ex->path.len - begin);
    struct fg_span location = fg_arena_try_printf(
        ex->arena, "./%.*s/%s%.*s", FG_SPAN_ARGS(last), ex->query.data == NULL ? "" : "?",
        (int)(ex->query.len > 65536 ? 65536 : ex->query.len),
        ex->query.data == NULL ? "" : ex->query.data);
    struct fg_field *fields = fg_arena_try_alloc(ex->arena, 2 * sizeof(*fields));
    if (location.data == NULL || fields == NULL) {
        fail(request, FG_FAILURE_NO_MEMORY, "no memory for the answer");
        return;
    }
    fields[0] = (struct fg_field){FG_SPAN("location"), location};
    fields[1] = (struct fg_field){FG_SPAN("content-length"), FG_SPAN("0")};
    fg_counter_add(&request->thread->files->refused, 1);
    fg_exchange_head(ex, 308, fields, 2);
    fg_exchange_end(let_go(request));
}

/* What stands before a part is small: it goes out whether or not the client is to be waited for. */
static void begin_part(struct fg_static_request *request)
{
    const struct fg_span *head = &request->parts->heads[request->part];
    const struct fg_byte_run *run = &request->parts->runs[request->part];
    request->offset = run->first;
    request->left_bytes = run->last - run->first + 1;
    if (!fg_exchange_write(request->ex, head->data, head->len))
        request->is_paused = true;
}

/* False: the exchange is gone. */
static bool answer_file(struct fg_static_request *request, const struct fg_file_facts *facts)
{
    struct fg_exchange *ex = request->ex;
    struct fg_static *files = request->thread->files;
    struct fg_file_answer *answer = fg_arena_try_alloc(ex->arena, sizeof(*answer));
    const struct fg_file_rules rules = {
        .cache_control = fg_span_from_string(files->conf.cache_control),
        .varies = files->conf.precompressed != 0,
        .ranges_max = files->conf.ranges_max,
        .now_s = (int64_t)(fg_clock_wall_ns() / FG_S),
        .now_ns = fg_clock_monotonic_ns(),
    };
    if (answer == NULL || !fg_file_answer_make(ex, facts, request->name, &rules, answer)) {
        fail(request, FG_FAILURE_NO_MEMORY, "no memory for the answer");
        return false;
    }
    if (answer->status == 304)
        fg_counter_add(&files->not_modified, 1);
    else if (answer->status == 206)
        fg_counter_add(&files->partial, 1);
    if (facts->coding != FG_CODING_IDENTITY)
        fg_counter_add(&files->precompressed, 1);
    request->is_answering = true;
    request->offset = answer->first_byte;
    request->left_bytes = ex->method == FG_METHOD_HEAD ? 0 : answer->body_bytes;
    fg_exchange_head(ex, answer->status, answer->fields, answer->field_count);
    request->parts = answer->parts;
    if (request->parts != NULL)
        begin_part(request);
    return true;
}

/* False: the last one has been sent, or there are none. */
static bool next_part(struct fg_static_request *request)
{
    const struct fg_byte_parts *parts = request->parts;
    if (parts == NULL)
        return false;
    if (++request->part < parts->count) {
        begin_part(request);
        return true;
    }
    (void)fg_exchange_write(request->ex, parts->tail.data, parts->tail.len);
    return false;
}

/* False: the exchange is gone. */
static bool pass_on(struct fg_static_request *request, const char *data, size_t len)
{
    struct fg_static *files = request->thread->files;
    if (len > request->left_bytes)
        len = (size_t)request->left_bytes;
    if (len > 0) {
        request->offset += len;
        request->left_bytes -= len;
        fg_counter_add(&files->sent_bytes, len);
        if (!fg_exchange_write(request->ex, data, len))
            request->is_paused = true;
    }
    if (request->left_bytes > 0 || next_part(request))
        return true;
    fg_counter_add(&files->served, 1);
    fg_exchange_end(let_go(request));
    return false;
}

/* ---- what a reader brings back ---- */

/* False: the exchange is gone. */
static bool on_opened(struct fg_static_request *request, const struct fg_file_reader *reader)
{
    const struct fg_static_conf *conf = &request->thread->files->conf;
    switch (reader->outcome) {
    case FG_FILE_FOUND:
        if (reader->facts.size_bytes <= conf->file_bytes_max)
            return answer_file(request, &reader->facts);
        refuse(request, 403, "file_too_large", "the file is larger than may be served");
        return false;
    case FG_FILE_DIRECTORY:
        redirect_to_directory(request);
        return false;
    case FG_FILE_MISSING:
        refuse_missing(request);
        return false;
    case FG_FILE_FORBIDDEN:
        refuse(request, 403, "forbidden", "the file may not be read");
        return false;
    case FG_FILE_NO_DESCRIPTORS:
        fg_counter_add(&request->thread->files->busy, 1);
        fg_refuse_for_descriptors(let_go(request));
        return false;
    case FG_FILE_NO_MEMORY:
        fail(request, FG_FAILURE_NO_MEMORY, "the system has no memory for the file");
        return false;
    case FG_FILE_BROKEN:
        fail(request, FG_FAILURE_INTERNAL, "the file could not be read");
        return false;
    }
    return false;
}

static void on_piece(struct fg_static_request *request, const struct fg_file_reader *reader)
{
    if (reader->outcome != FG_FILE_FOUND) {
        fail(request, FG_FAILURE_RESET, "the file could not be read to its end");
        return;
    }
    if (reader->bytes_read == 0 && request->left_bytes > 0 && reader->bytes_wanted > 0) {
        fail(request, FG_FAILURE_RESET, "the file became shorter while it was sent");
        return;
    }
    if (!pass_on(request, reader->buffer, reader->bytes_read))
        return;
    if (request->is_paused)
        fg_static_watch(request);
    else
        read_next(request);
}

/* The result is at hand and the request still there. The reader is released by the caller. */
static void take_result(struct fg_static_request *request, struct fg_file_reader *reader)
{
    request->fd = reader->fd;
    reader->fd = -1;
    if (!request->is_answering) {
        request->is_counted = request->fd != -1;
        if (request->is_counted) {
            fg_counter_add(&request->thread->files->open_files, 1);
            fg_pressure_note_fd(request->thread->env.pressure, request->fd);
        }
        if (!on_opened(request, reader))
            return; /* that was all there was to say */
    }
    on_piece(request, reader);
}

static void on_read(struct fg_message *message)
{
    struct fg_file_reader *reader = FG_CONTAINER_OF(message, struct fg_file_reader, job.message);
    struct fg_static_thread *thread = reader->thread;
    struct fg_static_request *request = reader->request;
    if (thread == NULL) {
        fg_file_reader_destroy(reader);
        return;
    }
    fg_list_remove(&reader->link);
    thread->readers_busy--;
    if (request != NULL) {
        request->reader = NULL;
        take_result(request, reader);
    } else if (reader->fd != -1) {
        close(reader->fd);
        reader->fd = -1;
    }
    fg_file_reader_release(reader);
    fg_static_request_serve_waiting(thread);
}

/* ---- asking for a piece ---- */

/* A bit each for the codings in which its client may have a file; 0: it is to be as it is. */
static unsigned read_accepted(const struct fg_static_request *request,
                              struct fg_accept_encoding *accept)
{
    const struct fg_exchange *ex = request->ex;
    const unsigned codings = request->thread->files->conf.precompressed;
    bool has_field = false;
    fg_accept_encoding_init(accept);
    for (size_t i = 0; codings != 0 && i < ex->field_count; i++) {
        if (!fg_span_equal(ex->fields[i].name, FG_SPAN("accept-encoding")))
            continue;
        has_field = true;
        fg_accept_encoding_parse(accept, ex->fields[i].value.data, ex->fields[i].value.len);
    }
    return has_field ? codings : 0;
}

static void fill_reader(const struct fg_static_request *request, struct fg_file_reader *reader)
{
    reader->fd = request->fd;
    reader->offset = request->offset;
    reader->job.message.run = on_read;
    reader->job.work = fg_file_read_in_helper;
    reader->job.reply_to = request->thread->env.mailbox;
    if (request->is_answering) {
        reader->bytes_wanted = request->left_bytes < FG_FILE_READ_BYTES
                                   ? (size_t)request->left_bytes
                                   : FG_FILE_READ_BYTES;
        return;
    }
    /* Nearly always the whole file is wanted, and then one visit to a helper does it. */
    bool is_plain = request->ex->method == FG_METHOD_GET && !fg_file_is_conditional(request->ex);
    reader->bytes_wanted = is_plain ? FG_FILE_READ_BYTES : 0;
    reader->codings = read_accepted(request, &reader->accept);
    memcpy(reader->path, request->name.data, request->name.len + 1);
}

/* False: all readers are in use, or the helpers have too much to do. */
static bool try_read_next(struct fg_static_request *request)
{
    struct fg_static_thread *thread = request->thread;
    struct fg_file_reader *reader = fg_file_reader_try_acquire(thread);
    if (reader == NULL)
        return false;
    fill_reader(request, reader);
    if (fg_helper_pool_try_submit(thread->env.helper, &reader->job) != FG_OK) {
        reader->fd = -1;
        fg_file_reader_release(reader);
        return false;
    }
    request->fd = -1;
    request->reader = reader;
    reader->request = request;
    fg_list_push_back(&thread->at_work, &reader->link);
    thread->readers_busy++;
    fg_counter_add(&thread->files->reads, 1);
    return true;
}

/* A reader that comes back looks at those who wait; if none will, a timer does. */
static void arm_retry(struct fg_static_thread *thread)
{
    const struct timeval pause = {.tv_usec = RETRY_US};
    if (thread->readers_busy == 0 && !fg_list_is_empty(&thread->waiting))
        event_add(&thread->retry, &pause);
}

/* A new request finds the helpers overrun: it is told so. One that has begun to answer waits. */
static void read_next(struct fg_static_request *request)
{
    struct fg_static_thread *thread = request->thread;
    if (fg_list_is_empty(&thread->waiting) && try_read_next(request))
        return;
    if (!request->is_answering && thread->readers_busy == 0) {
        fg_counter_add(&thread->files->busy, 1);
        fg_refuse_for_helpers(let_go(request), thread->env.helper);
        return;
    }
    fg_list_push_back(&thread->waiting, &request->link);
    arm_retry(thread);
}

void fg_static_request_serve_waiting(struct fg_static_thread *thread)
{
    struct fg_list *link;
    while ((link = fg_list_pop_front(&thread->waiting)) != NULL) {
        if (!try_read_next(FG_CONTAINER_OF(link, struct fg_static_request, link))) {
            fg_list_push_front(&thread->waiting, link);
            break;
        }
    }
    arm_retry(thread);
}

/* ---- the gateway's calls ---- */

void fg_static_request_start(struct fg_static_thread *thread, struct fg_exchange *ex)
{
    struct fg_static *files = thread->files;
    fg_counter_add(&files->requests, 1);
    struct fg_static_request *request = fg_arena_try_zalloc(ex->arena, sizeof(*request));
    if (request == NULL) {
        fg_counter_add(&files->failed, 1);
        fg_exchange_fail(ex, FG_FAILURE_NO_MEMORY, "no memory for the request");
        return;
    }
    ex->backend_state = request;
    request->ex = ex;
    request->thread = thread;
    request->fd = -1;
    fg_list_init(&request->link);
    fg_list_init(&request->paused_link);
    if (!fg_static_may_start(request)) {
        fg_counter_add(&files->share_refused, 1);
        uint32_t held = fg_static_held(request);
        fg_refuse_for_unread(let_go(request), held, thread->give_way.share);
        return;
    }
    if (ex->method != FG_METHOD_GET && ex->method != FG_METHOD_HEAD) {
        fg_counter_add(&files->refused, 1);
        fg_exchange_refuse(let_go(request), &(struct fg_backend_refusal){
                                                .status = 405,
                                                .type = "invalid_request",
                                                .code = "method_not_allowed",
                                                .message = "files are read with GET and HEAD",
                                                .allow = FG_SPAN("GET, HEAD"),
                                            });
        return;
    }
    enum fg_status status = fg_file_name_of(ex->arena, ex->path, files->conf.index, &request->name);
    if (status == FG_ERR_NO_MEMORY)
        fail(request, FG_FAILURE_NO_MEMORY, "no memory for the file's name");
    else if (status != FG_OK || request->name.len >= PATH_MAX)
        refuse_missing(request);
    else
        read_next(request);
}

void fg_static_request_on_writable(struct fg_static_request *request)
{
    if (!request->is_paused)
        return;
    request->is_paused = false;
    fg_static_forget(request);
    if (request->reader == NULL && fg_list_is_empty(&request->link))
        read_next(request);
}

void fg_static_request_give_way(struct fg_static_request *request)
{
    fg_counter_add(&request->thread->files->gave_way, 1);
    fg_exchange_fail(let_go(request), FG_FAILURE_SLOW_CLIENT,
                     "its client took nothing while others waited");
}

void fg_static_request_cancel(struct fg_static_request *request)
{
    fg_counter_add(&request->thread->files->cancelled, 1);
    if (request->reader != NULL) {
        request->reader->request = NULL;
        request->reader = NULL; /* its file is closed when it comes back */
    }
    (void)let_go(request);
}
