/*
 * cache_stream_shared.c: a chain of pieces with one writer and many readers.
 *
 *    first --> [bytes] --> [bytes] --> last: [bytes|room]
 *                 ^ slowest reader's piece: before it, a stream that does not keep holds nothing
 */
#include "cache_stream_shared.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define PIECE_MIN ((size_t)4096)
#define PIECE_MAX ((size_t)65536)
#define WINDOW_BYTES ((uint64_t)262144)

enum phase { PHASE_HEAD, PHASE_BODY, PHASE_ENDED, PHASE_FAILED };

struct piece {
    struct piece *next;
    uint64_t begin; /* place of its first byte in the answer */
    size_t filled;
    size_t room;
    struct fg_cache_body *body;
};

struct fg_cache_reader {
    /* the reader's own */
    struct fg_cache_readers *home;
    struct fg_cache_reader *next_free;
    struct fg_loop *loop;
    void (*on_news)(void *owner);
    void *owner; /* NULL: has left, freed by the message that is on its way */
    struct fg_message message;
    struct fg_deferred deferred;
    /* guarded by the stream's lock */
    struct fg_list link;
    struct fg_cache_stream *stream;
    bool is_leader;
    bool is_asleep;
    bool is_posted;
    bool is_released;
    bool is_told;        /* that it is released */
    struct piece *piece; /* NULL: at the beginning */
    size_t at;           /* in the piece */
};

struct fg_cache_stream {
    struct fg_cache_flight flight; /* guarded by the shard's lock */
    atomic_uint references;
    struct fg_loop *loop; /* the writer's */
    uint32_t readers_max;
    uint32_t let_on_first;
    pthread_mutex_t lock;
    /* guarded by the lock */
    enum phase phase;
    enum fg_cache_outcome outcome;
    bool keeps;
    bool is_writer_paused;
    bool is_wake_posted;
    struct fg_message wake_message;
    void (*on_wake)(void *owner);
    void *writer;
    struct fg_counter *counter;
    uint64_t counted;            /* in it */
    struct fg_cache_hint *hints; /* that the leader has not taken */
    struct fg_cache_object *object;
    struct fg_cache_failure failure;
    int64_t length;
    struct fg_list readers;
    uint32_t reader_count;
    bool is_error;
    bool is_whole;
    struct fg_cache_hops hops;
    struct piece *first;
    struct piece *last;
    uint64_t appended;
};

/* ---- life ---- */

static void on_wake_message(struct fg_message *message);

struct fg_cache_stream *fg_cache_stream_create(struct fg_loop *loop, struct fg_span key,
                                               uint32_t readers_max, uint32_t let_on_first)
{
    struct fg_cache_stream *stream = malloc(sizeof(*stream) + key.len);
    if (stream == NULL)
        return NULL;
    *stream = (struct fg_cache_stream){.loop = loop,
                                       .readers_max = readers_max,
                                       .let_on_first = let_on_first,
                                       .wake_message = {.run = on_wake_message},
                                       .length = -1};
    char *text = (char *)(stream + 1);
    memcpy(text, key.data, key.len);
    stream->flight.key = fg_span_make(text, key.len);
    atomic_init(&stream->references, 1);
    pthread_mutex_init(&stream->lock, NULL);
    fg_list_init(&stream->readers);
    return stream;
}

void fg_cache_stream_acquire(struct fg_cache_stream *stream)
{
    atomic_fetch_add_explicit(&stream->references, 1, memory_order_relaxed);
}

static void free_first_piece(struct fg_cache_stream *stream)
{
    struct piece *piece = stream->first;
    stream->first = piece->next;
    if (stream->first == NULL)
        stream->last = NULL;
    fg_cache_body_release(piece->body);
    free(piece);
}

static void stop_counting(struct fg_cache_stream *stream)
{
    if (stream->counted > 0)
        fg_counter_sub(stream->counter, stream->counted);
    stream->counted = 0;
}

void fg_cache_stream_release(struct fg_cache_stream *stream)
{
    if (stream == NULL ||
        atomic_fetch_sub_explicit(&stream->references, 1, memory_order_acq_rel) != 1)
        return;
    assert(stream->reader_count == 0 && !stream->flight.is_listed);
    while (stream->first != NULL)
        free_first_piece(stream);
    stop_counting(stream);
    fg_cache_hint_destroy_all(stream->hints);
    fg_cache_object_release(stream->object);
    pthread_mutex_destroy(&stream->lock);
    free(stream);
}

struct fg_cache_flight *fg_cache_stream_flight(struct fg_cache_stream *stream)
{
    return &stream->flight;
}

struct fg_cache_stream *fg_cache_stream_of(struct fg_cache_flight *flight)
{
    return FG_CONTAINER_OF(flight, struct fg_cache_stream, flight);
}

void fg_cache_stream_set_writer(struct fg_cache_stream *stream, void (*on_wake)(void *owner),
                                void *owner)
{
    stream->on_wake = on_wake;
    stream->writer = owner;
}

void fg_cache_stream_drop_writer(struct fg_cache_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    stream->writer = NULL;
    pthread_mutex_unlock(&stream->lock);
    fg_cache_stream_release(stream);
}

/* ---- waking; all with the lock held ---- */

static void on_reader_message(struct fg_message *message);

/* `here` is the loop of the calling thread: only there may work be deferred. */
static void wake_reader(struct fg_cache_reader *reader, const struct fg_loop *here)
{
    if (!reader->is_asleep)
        return;
    reader->is_asleep = false;
    if (reader->loop == here) {
        fg_loop_defer(reader->loop, &reader->deferred);
    } else if (!reader->is_posted) {
        reader->is_posted = true;
        fg_mailbox_post(fg_loop_mailbox(reader->loop), &reader->message);
    }
}

static bool is_mine_alone(const struct fg_cache_stream *stream)
{
    return stream->outcome == FG_CACHE_OUTCOME_OWN || stream->outcome == FG_CACHE_OUTCOME_ERROR;
}

static void wake_readers(struct fg_cache_stream *stream)
{
    FG_LIST_EACH_SAFE(link, after, &stream->readers)
    {
        struct fg_cache_reader *reader = FG_CONTAINER_OF(link, struct fg_cache_reader, link);
        if (reader->is_leader || reader->is_released || !is_mine_alone(stream))
            wake_reader(reader, stream->loop);
    }
}

/* Those that a leader's own answer is not for: so many more learn of it. */
static void let_on(struct fg_cache_stream *stream, const struct fg_loop *here, unsigned count)
{
    FG_LIST_EACH_SAFE(link, after, &stream->readers)
    {
        struct fg_cache_reader *reader = FG_CONTAINER_OF(link, struct fg_cache_reader, link);
        if (count == 0)
            break;
        if (reader->is_leader || reader->is_released)
            continue;
        reader->is_released = true;
        count--;
        /* It has not moved since it joined, and it reads its news before it sleeps again. */
        wake_reader(reader, here);
    }
}

void fg_cache_stream_let_on(struct fg_cache_stream *stream, const struct fg_loop *here,
                            unsigned count)
{
    pthread_mutex_lock(&stream->lock);
    let_on(stream, here, count);
    pthread_mutex_unlock(&stream->lock);
}

static void wake_writer(struct fg_cache_stream *stream)
{
    if (stream->is_wake_posted || stream->writer == NULL)
        return;
    stream->is_wake_posted = true;
    fg_cache_stream_acquire(stream); /* the message's */
    fg_mailbox_post(fg_loop_mailbox(stream->loop), &stream->wake_message);
}

static void on_wake_message(struct fg_message *message)
{
    struct fg_cache_stream *stream = FG_CONTAINER_OF(message, struct fg_cache_stream, wake_message);
    pthread_mutex_lock(&stream->lock);
    stream->is_wake_posted = false;
    void *writer = stream->writer;
    pthread_mutex_unlock(&stream->lock);
    if (writer != NULL) /* dropped on this very loop, so it cannot go in between */
        stream->on_wake(writer);
    fg_cache_stream_release(stream);
}

/* ---- writing ---- */

void fg_cache_stream_set_head(struct fg_cache_stream *stream, enum fg_cache_outcome outcome,
                              struct fg_cache_object *object, int64_t length, bool keeps,
                              const struct fg_cache_hops *hops)
{
    bool is_error = fg_cache_is_error_status(object->head.status);
    bool is_whole = object->body != NULL; /* readers may not look: it may be set while they read */
    pthread_mutex_lock(&stream->lock);
    assert(stream->phase == PHASE_HEAD);
    stream->phase = PHASE_BODY;
    stream->outcome = outcome;
    stream->object = object;
    stream->length = length;
    stream->keeps = keeps;
    stream->is_error = is_error;
    stream->is_whole = is_whole;
    stream->hops = *hops;
    wake_readers(stream);
    if (is_mine_alone(stream))
        let_on(stream, stream->loop, stream->let_on_first);
    pthread_mutex_unlock(&stream->lock);
}

static struct fg_cache_reader *leader_of(const struct fg_cache_stream *stream)
{
    for (struct fg_list *it = stream->readers.next; it != &stream->readers; it = it->next) {
        struct fg_cache_reader *reader = FG_CONTAINER_OF(it, struct fg_cache_reader, link);
        if (reader->is_leader)
            return reader;
    }
    return NULL;
}

void fg_cache_stream_add_hint(struct fg_cache_stream *stream, struct fg_cache_hint *hint)
{
    pthread_mutex_lock(&stream->lock);
    struct fg_cache_reader *leader = leader_of(stream);
    if (leader != NULL && hint != NULL) {
        struct fg_cache_hint **end = &stream->hints;
        while (*end != NULL)
            end = &(*end)->next;
        *end = hint;
        hint = NULL;
        wake_reader(leader, stream->loop);
    }
    pthread_mutex_unlock(&stream->lock);
    fg_cache_hint_destroy_all(hint);
}

static uint64_t position_of(const struct fg_cache_reader *reader)
{
    return reader->piece == NULL ? 0 : reader->piece->begin + reader->at;
}

/* Does the reader follow the bytes, or only wait to be let on? */
static bool follows(const struct fg_cache_stream *stream, const struct fg_cache_reader *reader)
{
    return reader->is_leader || !is_mine_alone(stream);
}

static uint64_t slowest(const struct fg_cache_stream *stream)
{
    uint64_t least = stream->appended;
    for (const struct fg_list *it = stream->readers.next; it != &stream->readers; it = it->next) {
        const struct fg_cache_reader *reader =
            FG_CONTAINER_OF((struct fg_list *)(uintptr_t)it, struct fg_cache_reader, link);
        if (follows(stream, reader) && position_of(reader) < least)
            least = position_of(reader);
    }
    return least;
}

/* Frees what everybody has passed; only whole pieces, and never the one being filled. */
static void trim(struct fg_cache_stream *stream)
{
    if (stream->keeps || stream->phase == PHASE_HEAD)
        return;
    uint64_t passed = slowest(stream);
    while (stream->first != stream->last && stream->first->begin + stream->first->filled < passed)
        free_first_piece(stream);
    if (stream->is_writer_paused && stream->appended - passed < WINDOW_BYTES / 2) {
        stream->is_writer_paused = false;
        wake_writer(stream);
    }
}

void fg_cache_stream_hold(struct fg_cache_stream *stream, struct fg_counter *counter,
                          uint64_t bytes)
{
    stream->counter = counter;
    stream->counted += bytes;
}

void fg_cache_stream_stop_keeping(struct fg_cache_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    stream->keeps = false;
    stop_counting(stream);
    trim(stream);
    pthread_mutex_unlock(&stream->lock);
}

static size_t next_room(const struct fg_cache_stream *stream, size_t len)
{
    if (stream->keeps && stream->length > 0 && stream->appended + len <= (uint64_t)stream->length)
        return (size_t)((uint64_t)stream->length - stream->appended); /* one piece, exactly */
    size_t room = stream->last == NULL ? PIECE_MIN : stream->last->room * 2;
    if (room > PIECE_MAX)
        room = PIECE_MAX;
    return room < len ? len : room;
}

/* Without the lock: only the writer changes the chain's end. */
static struct piece *make_piece(const struct fg_cache_stream *stream, size_t len)
{
    struct piece *piece = malloc(sizeof(*piece));
    if (piece == NULL)
        return NULL;
    *piece = (struct piece){.room = next_room(stream, len)};
    piece->body = fg_cache_body_create(piece->room);
    if (piece->body != NULL)
        return piece;
    free(piece);
    return NULL;
}

static void link_piece(struct fg_cache_stream *stream, struct piece *piece)
{
    piece->begin = stream->appended;
    if (stream->last == NULL)
        stream->first = piece;
    else
        stream->last->next = piece;
    stream->last = piece;
}

bool fg_cache_stream_append(struct fg_cache_stream *stream, const void *data, size_t len,
                            bool *may_go_on)
{
    const char *at = data;
    struct piece *last = stream->last;
    size_t room = last == NULL ? 0 : last->room - last->filled;
    size_t part = len < room ? len : room;
    struct piece *fresh = NULL;
    *may_go_on = true;
    if (len > part) {
        fresh = make_piece(stream, len - part); /* `part` is 0 where the length is known */
        if (fresh == NULL)
            return false;
        memcpy(fg_cache_body_room(fresh->body), at + part, len - part);
        fresh->filled = len - part;
    }
    if (part > 0)
        memcpy(fg_cache_body_room(last->body) + last->filled, at, part);
    pthread_mutex_lock(&stream->lock);
    if (part > 0)
        last->filled += part;
    stream->appended += part;
    if (fresh != NULL) {
        link_piece(stream, fresh);
        stream->appended += fresh->filled;
    }
    wake_readers(stream);
    trim(stream);
    if (!stream->keeps && stream->appended - slowest(stream) > WINDOW_BYTES) {
        stream->is_writer_paused = true;
        *may_go_on = false;
    }
    pthread_mutex_unlock(&stream->lock);
    return true;
}

struct fg_cache_body *fg_cache_stream_take_body(struct fg_cache_stream *stream)
{
    struct piece *only = stream->first;
    assert(stream->keeps);
    if (only != NULL && only->next == NULL && only->filled == only->room) {
        fg_cache_body_acquire(only->body);
        return only->body;
    }
    struct fg_cache_body *body = fg_cache_body_create((size_t)stream->appended);
    if (body == NULL)
        return NULL;
    char *to = fg_cache_body_room(body);
    for (struct piece *it = stream->first; it != NULL; it = it->next) {
        memcpy(to, fg_cache_body_room(it->body), it->filled);
        to += it->filled;
    }
    return body;
}

void fg_cache_stream_note_stored(struct fg_cache_stream *stream, const struct fg_cache_body *body)
{
    pthread_mutex_lock(&stream->lock);
    if (stream->first == NULL || stream->first->body == body)
        stop_counting(stream);
    pthread_mutex_unlock(&stream->lock);
}

/* A backend that answers takes more of them; one that fails has enough with the first. */
static void finish(struct fg_cache_stream *stream, enum phase phase)
{
    stream->phase = phase;
    wake_readers(stream);
    if (is_mine_alone(stream))
        let_on(stream, stream->loop,
               stream->is_error || phase == PHASE_FAILED ? 1 : stream->let_on_first);
}

void fg_cache_stream_end(struct fg_cache_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    assert(stream->phase == PHASE_BODY);
    finish(stream, PHASE_ENDED);
    pthread_mutex_unlock(&stream->lock);
}

void fg_cache_stream_fail(struct fg_cache_stream *stream, const struct fg_cache_failure *failure)
{
    pthread_mutex_lock(&stream->lock);
    assert(stream->phase == PHASE_HEAD || stream->phase == PHASE_BODY);
    if (stream->phase == PHASE_HEAD) {
        stream->outcome = FG_CACHE_OUTCOME_FAILED;
        stream->failure = *failure;
    }
    finish(stream, PHASE_FAILED);
    pthread_mutex_unlock(&stream->lock);
}

bool fg_cache_stream_has_readers(struct fg_cache_stream *stream)
{
    bool has_some = false;
    pthread_mutex_lock(&stream->lock);
    FG_LIST_EACH_SAFE(link, after, &stream->readers)
    has_some |= follows(stream, FG_CONTAINER_OF(link, struct fg_cache_reader, link));
    pthread_mutex_unlock(&stream->lock);
    return has_some;
}

/* ---- reading ---- */

void fg_cache_readers_fini(struct fg_cache_readers *readers)
{
    while (readers->free != NULL) {
        struct fg_cache_reader *reader = readers->free;
        readers->free = reader->next_free;
        free(reader);
    }
}

static void free_reader(struct fg_cache_reader *reader)
{
    reader->owner = NULL;
    reader->next_free = reader->home->free;
    reader->home->free = reader;
}

static void on_reader_message(struct fg_message *message)
{
    struct fg_cache_reader *reader = FG_CONTAINER_OF(message, struct fg_cache_reader, message);
    if (reader->owner == NULL) {
        free_reader(reader);
        return;
    }
    struct fg_cache_stream *stream = reader->stream;
    pthread_mutex_lock(&stream->lock);
    reader->is_posted = false;
    pthread_mutex_unlock(&stream->lock);
    reader->on_news(reader->owner);
}

static void on_reader_deferred(struct fg_deferred *deferred)
{
    struct fg_cache_reader *reader = FG_CONTAINER_OF(deferred, struct fg_cache_reader, deferred);
    reader->on_news(reader->owner);
}

struct fg_cache_reader *fg_cache_reader_create(struct fg_cache_readers *readers,
                                               struct fg_loop *loop, void (*on_news)(void *owner),
                                               void *owner)
{
    struct fg_cache_reader *reader = readers->free;
    if (reader != NULL)
        readers->free = reader->next_free;
    else
        reader = malloc(sizeof(*reader));
    if (reader == NULL)
        return NULL;
    *reader = (struct fg_cache_reader){.home = readers,
                                       .loop = loop,
                                       .on_news = on_news,
                                       .owner = owner,
                                       .message = {.run = on_reader_message},
                                       .deferred = {.run = on_reader_deferred}};
    fg_list_init(&reader->link);
    return reader;
}

bool fg_cache_stream_join(struct fg_cache_stream *stream, struct fg_cache_reader *reader,
                          bool is_leader)
{
    pthread_mutex_lock(&stream->lock);
    /* Once a leader's own answer has begun, nobody else has any business here. */
    bool may_join = stream->reader_count < stream->readers_max && !is_mine_alone(stream) &&
                    stream->phase != PHASE_FAILED && (stream->phase == PHASE_HEAD || stream->keeps);
    if (may_join) {
        fg_cache_stream_acquire(stream);
        reader->stream = stream;
        reader->is_leader = is_leader;
        reader->is_asleep = true;
        fg_list_push_back(&stream->readers, &reader->link);
        stream->reader_count++;
        if (stream->phase != PHASE_HEAD)
            wake_reader(reader, reader->loop);
    }
    pthread_mutex_unlock(&stream->lock);
    return may_join;
}

bool fg_cache_reader_holds_room(const struct fg_cache_reader *reader)
{
    struct fg_cache_stream *stream = reader->stream;
    pthread_mutex_lock(&stream->lock);
    bool is_read_alone = stream->phase == PHASE_ENDED || stream->phase == PHASE_FAILED;
    bool holds =
        is_read_alone && (stream->counted > 0 ||
                          (stream->first != NULL && fg_cache_body_is_lent(stream->first->body)));
    pthread_mutex_unlock(&stream->lock);
    return holds;
}

bool fg_cache_reader_holds_up_others(const struct fg_cache_reader *reader)
{
    struct fg_cache_stream *stream = reader->stream;
    pthread_mutex_lock(&stream->lock);
    bool holds = stream->is_writer_paused && stream->reader_count > 1 &&
                 position_of(reader) == slowest(stream);
    pthread_mutex_unlock(&stream->lock);
    return holds;
}

void fg_cache_reader_leave(struct fg_cache_reader *reader)
{
    struct fg_cache_stream *stream = reader->stream;
    fg_loop_defer_cancel(reader->loop, &reader->deferred);
    if (stream == NULL) {
        free_reader(reader);
        return;
    }
    pthread_mutex_lock(&stream->lock);
    bool followed = follows(stream, reader);
    fg_list_remove(&reader->link);
    stream->reader_count--;
    bool is_posted = reader->is_posted;
    trim(stream);
    bool is_unread = stream->phase == PHASE_HEAD && stream->reader_count == 0;
    if (is_unread || (followed && !stream->keeps && stream->phase == PHASE_BODY))
        wake_writer(stream); /* it looks whether anybody is left */
    if (reader->is_released && !reader->is_told)
        let_on(stream, reader->loop, 1);
    pthread_mutex_unlock(&stream->lock);
    reader->stream = NULL;
    reader->owner = NULL;
    if (!is_posted)
        free_reader(reader);
    fg_cache_stream_release(stream);
}

struct fg_cache_stream *fg_cache_reader_stream(const struct fg_cache_reader *reader)
{
    return reader->stream;
}

bool fg_cache_reader_is_leader(const struct fg_cache_reader *reader)
{
    return reader->is_leader;
}

struct fg_cache_news fg_cache_reader_news(struct fg_cache_reader *reader)
{
    struct fg_cache_stream *stream = reader->stream;
    pthread_mutex_lock(&stream->lock);
    struct fg_cache_news news = {.outcome = stream->outcome,
                                 .object = stream->object,
                                 .failure = &stream->failure,
                                 .length = stream->length,
                                 .hops = &stream->hops,
                                 .is_whole = stream->is_whole,
                                 .is_kept = stream->keeps,
                                 .is_error = stream->is_error,
                                 .is_released = reader->is_released};
    if (news.outcome == FG_CACHE_OUTCOME_PENDING ||
        (is_mine_alone(stream) && !reader->is_leader && !reader->is_released))
        reader->is_asleep = true;
    reader->is_told = reader->is_released;
    pthread_mutex_unlock(&stream->lock);
    return news;
}

struct fg_cache_hint *fg_cache_reader_take_hints(struct fg_cache_reader *reader)
{
    struct fg_cache_stream *stream = reader->stream;
    struct fg_cache_hint *hints = NULL;
    pthread_mutex_lock(&stream->lock);
    if (reader->is_leader) {
        hints = stream->hints;
        stream->hints = NULL;
    }
    pthread_mutex_unlock(&stream->lock);
    return hints;
}

static struct fg_cache_run run_at(const struct fg_cache_stream *stream, const struct piece *piece,
                                  size_t at)
{
    return (struct fg_cache_run){
        .bytes = fg_span_make(fg_cache_body_room(piece->body) + at, piece->filled - at),
        .body = piece->body,
        .is_whole_body = stream->keeps && piece == stream->first && stream->length > 0 &&
                         piece->room == (uint64_t)stream->length};
}

enum fg_cache_read fg_cache_reader_peek(struct fg_cache_reader *reader, struct fg_cache_run *run)
{
    struct fg_cache_stream *stream = reader->stream;
    enum fg_cache_read result = FG_CACHE_READ_DATA;
    pthread_mutex_lock(&stream->lock);
    if (reader->piece == NULL)
        reader->piece = stream->first;
    while (reader->piece != NULL && reader->at == reader->piece->filled &&
           reader->piece->next != NULL) {
        reader->piece = reader->piece->next;
        reader->at = 0;
    }
    struct piece *piece = reader->piece;
    if (piece != NULL && reader->at < piece->filled) {
        *run = run_at(stream, piece, reader->at);
    } else if (stream->phase == PHASE_ENDED) {
        result = FG_CACHE_READ_END;
    } else if (stream->phase == PHASE_FAILED) {
        result = FG_CACHE_READ_FAILED;
    } else {
        reader->is_asleep = true;
        result = FG_CACHE_READ_WAIT;
    }
    pthread_mutex_unlock(&stream->lock);
    return result;
}

void fg_cache_reader_advance(struct fg_cache_reader *reader, size_t len)
{
    struct fg_cache_stream *stream = reader->stream;
    pthread_mutex_lock(&stream->lock);
    reader->at += len;
    assert(reader->at <= reader->piece->filled);
    trim(stream);
    pthread_mutex_unlock(&stream->lock);
}
