/*
 * cache_stream_shared.h: an answer on its way into the cache, and all who read it as it arrives.
 *
 *    one writer (the fetch, on its loop)               any number of readers, on any loop
 *      set_head(outcome, object) ------------.           peek -> a run of bytes | WAIT | END |
 * FAILED append(bytes) ... end() | fail() ------+-wakes->  on_news: look again
 *      <----- wake: there is room, or nobody reads any more
 *
 * Protocol  the mutex guards everything; bytes below what was appended never change, so a reader
 *           uses a run outside the lock. A reader of the writer's loop is woken by deferred work,
 *           one elsewhere through its mailbox; one that leaves while a message is on its way is
 *           freed by that message. Locks are taken in the order shard, stream, mailbox.
 * Memory    a stream that keeps is as large as its answer (bounded by the caller, which stops it);
 *           one that does not keeps a window: its writer waits for the slowest reader.
 *
 *    HEAD --set_head--> BODY --end--> ENDED
 *       `--------------------fail---> FAILED
 */
#ifndef FG_PIPELINE_CACHE_STREAM_SHARED_H
#define FG_PIPELINE_CACHE_STREAM_SHARED_H

#include "net/loop.h"
#include "pipeline/cache_hint.h"
#include "pipeline/cache_object_shared.h"

enum fg_cache_outcome {
    FG_CACHE_OUTCOME_PENDING, /* no head yet */
    FG_CACHE_OUTCOME_SHARED,  /* for everyone whose request it fits */
    FG_CACHE_OUTCOME_OWN,     /* for the leader alone; the others are released bit by bit */
    FG_CACHE_OUTCOME_ERROR,   /* the same, for a status from 400 on, or an odd request: another may
                                 try */
    FG_CACHE_OUTCOME_FAILED,  /* no answer: see failure */
};

/* Which server a fetch went to, for the log and explain. */
struct fg_cache_answerer {
    char endpoint[64]; /* cut there; empty: none was chosen */
    unsigned attempts;
    bool was_hedged;
};

/* Where the fetch spent its time up to its head or failure, for the leader's Server-Timing. */
#define FG_CACHE_HOPS_MAX 4u
struct fg_cache_hops {
    struct fg_cache_answerer answerer; /* with whom */
    uint64_t queue_ns;
    uint64_t backend_ns;
    struct {
        const char *name; /* constants */
        uint64_t duration_ns;
    } own[FG_CACHE_HOPS_MAX]; /* of the backend's */
    size_t own_count;
};

/* What the leader's client is told of a failed fetch, and everybody else's. */
struct fg_cache_failure {
    struct fg_cache_hops hops; /* with who failed last */
    unsigned status;
    const char *type; /* constants */
    const char *code;
    const char *policy;
    bool is_refused; /* by a stage of ours, for the reason `reason` (enum fg_refused) */
    unsigned reason;
    bool is_retryable; /* by everybody, at once */
    uint64_t retry_after_ns;
    uint64_t value; /* what was compared, with what */
    uint64_t limit;
    uint64_t position;
    uint64_t wait_ns;
    char message[200];
};

/* What everybody may know of a stream once it has a head. */
struct fg_cache_news {
    enum fg_cache_outcome outcome;
    struct fg_cache_object *object;   /* the stream's */
    const struct fg_cache_hops *hops; /* likewise */
    bool is_whole;                    /* the object has its body, and is stored if it may be */
    const struct fg_cache_failure *failure; /* the stream's; FAILED only */
    int64_t length;                         /* -1: not known */
    bool is_kept;                           /* it is meant for the store */
    bool is_error;                          /* 500, 502, 503 or 504 from the backend */
    bool is_released; /* OWN or ERROR: this reader goes its own way now, see _release */
};

/* Who is fetching what; the store's shard lock guards it. */
struct fg_cache_flight {
    struct fg_cache_flight *next;
    uint64_t hash;
    uint64_t variant;
    uint32_t route_index;
    bool is_listed;
    bool is_alone;  /* joined by nobody, though what it brings may be kept */
    bool is_doomed; /* purged or invalidated: what it brings is not kept */
    struct fg_span key;
};

struct fg_cache_stream;
struct fg_cache_reader;

/* Readers of one loop that are not in use. Zeroed is empty. */
struct fg_cache_readers {
    struct fg_cache_reader *free;
};
void fg_cache_readers_fini(struct fg_cache_readers *readers);

/* ---- the writer's side; its loop only ---- */

/*
 * One reference, the writer's. `on_wake(owner)` runs on `loop` when a writer that was told to pause
 * may go on, or when the last reader of a stream that does not keep has left. `let_on_first`: how
 * many readers are released when the answer turns out to be the leader's own. NULL without memory.
 */
struct fg_cache_stream *fg_cache_stream_create(struct fg_loop *loop, struct fg_span key,
                                               uint32_t readers_max, uint32_t let_on_first);
void fg_cache_stream_set_writer(struct fg_cache_stream *stream, void (*on_wake)(void *owner),
                                void *owner);
/* The writer is gone: on_wake is not called any more. Gives its reference back. */
void fg_cache_stream_drop_writer(struct fg_cache_stream *stream);
struct fg_cache_flight *fg_cache_stream_flight(struct fg_cache_stream *stream);
struct fg_cache_stream *fg_cache_stream_of(struct fg_cache_flight *flight);

/*
 * The answer begins. `object` becomes the stream's reference. `length` -1 when not known.
 * `keeps`: hold on to every byte.
 */
void fg_cache_stream_set_head(struct fg_cache_stream *stream, enum fg_cache_outcome outcome,
                              struct fg_cache_object *object, int64_t length, bool keeps,
                              const struct fg_cache_hops *hops);
/*
 * Before the head: for the leader alone, whose request it is about, as nobody can say yet whether
 * the answer may be shared. The stream's from now on; freed where no leader reads. NULL is fine.
 */
void fg_cache_stream_add_hint(struct fg_cache_stream *stream, struct fg_cache_hint *hint);
/* `bytes` are counted in `counter` for what is kept; taken off when the stream is freed, or stops.
 */
void fg_cache_stream_hold(struct fg_cache_stream *stream, struct fg_counter *counter,
                          uint64_t bytes);
void fg_cache_stream_stop_keeping(struct fg_cache_stream *stream);
/* All is taken; *may_go_on false: wait for on_wake. False without memory. */
FG_MUST_USE bool fg_cache_stream_append(struct fg_cache_stream *stream, const void *data,
                                        size_t len, bool *may_go_on);
/* Everything that was kept, in one piece and the caller's; NULL without memory. Before end. */
struct fg_cache_body *fg_cache_stream_take_body(struct fg_cache_stream *stream);
/* It is in the store: what is read here of the same memory counts there. */
void fg_cache_stream_note_stored(struct fg_cache_stream *stream, const struct fg_cache_body *body);
void fg_cache_stream_end(struct fg_cache_stream *stream);
/* `failure` counts before the head; after it the readers' answers break off. */
void fg_cache_stream_fail(struct fg_cache_stream *stream, const struct fg_cache_failure *failure);
bool fg_cache_stream_has_readers(struct fg_cache_stream *stream);

/* ---- any thread ---- */

void fg_cache_stream_acquire(struct fg_cache_stream *stream);
void fg_cache_stream_release(struct fg_cache_stream *stream); /* NULL is fine */

/* Let `count` more of those that wait for a leader's own answer go their own way. `here` is the
 * caller's loop. */
void fg_cache_stream_let_on(struct fg_cache_stream *stream, const struct fg_loop *here,
                            unsigned count);

/* ---- a reader's side; its own loop ---- */

/* From `readers`; NULL without memory. `on_news` never runs inside a call of this module. */
struct fg_cache_reader *fg_cache_reader_create(struct fg_cache_readers *readers,
                                               struct fg_loop *loop, void (*on_news)(void *owner),
                                               void *owner);
/* False: too late, or readers_max read already. Holds a reference until it leaves. */
bool fg_cache_stream_join(struct fg_cache_stream *stream, struct fg_cache_reader *reader,
                          bool is_leader);
/* All has been fetched, and what is kept of it for its readers alone takes room of the store's. */
bool fg_cache_reader_holds_room(const struct fg_cache_reader *reader);
/* It is not kept, and others could be further if this one were. */
bool fg_cache_reader_holds_up_others(const struct fg_cache_reader *reader);
/* Also for one that never joined. Frees it. */
void fg_cache_reader_leave(struct fg_cache_reader *reader);

struct fg_cache_stream *fg_cache_reader_stream(const struct fg_cache_reader *reader);
bool fg_cache_reader_is_leader(const struct fg_cache_reader *reader);
struct fg_cache_news fg_cache_reader_news(struct fg_cache_reader *reader);
/* The hints that have come for it, in their order and the caller's now; NULL for none. */
struct fg_cache_hint *fg_cache_reader_take_hints(struct fg_cache_reader *reader);

enum fg_cache_read {
    FG_CACHE_READ_DATA,
    FG_CACHE_READ_WAIT, /* on_news comes when there is more */
    FG_CACHE_READ_END,
    FG_CACHE_READ_FAILED,
};
struct fg_cache_run {
    struct fg_span bytes;
    struct fg_cache_body *body; /* that they lie in; who wants to keep them acquires it */
    bool is_whole_body;         /* it is, or will be, that of the stored response */
};
/* *run stays valid until advance or leave. */
enum fg_cache_read fg_cache_reader_peek(struct fg_cache_reader *reader, struct fg_cache_run *run);
void fg_cache_reader_advance(struct fg_cache_reader *reader, size_t len);

#endif
