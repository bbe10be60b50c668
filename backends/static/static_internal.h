/*
 * static_internal.h: what the files of this folder share.
 * Thread   see each part.
 */
#ifndef FG_STATIC_INTERNAL_H
#define FG_STATIC_INTERNAL_H

#include "backends/backend.h"
#include "base/counters_shared.h"
#include "base/list.h"
#include "policies/crowd.h"
#include "policies/give_way.h"
#include "policies/siphash.h"
#include "static/file_answer.h"
#include "static/static_conf.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <limits.h>

#define FG_FILE_READERS_MAX 16u
#define FG_FILE_READ_BYTES ((size_t)65536)

struct fg_static_thread;
struct fg_static_request;

/* What a reader found at the path. */
enum fg_file_outcome {
    FG_FILE_FOUND,
    FG_FILE_DIRECTORY,
    FG_FILE_MISSING,
    FG_FILE_FORBIDDEN, /* by the file's mode */
    FG_FILE_NO_DESCRIPTORS,
    FG_FILE_NO_MEMORY,
    FG_FILE_BROKEN, /* a read failed */
};

/*
 * One buffer and one piece of work for a helper. From submit until its message has run it belongs
 * to the helper, but for `request` and `thread`, which stay the loop's: a cancelled request is
 * taken out there and the result thrown away.
 */
struct fg_file_reader {
    struct fg_helper_job job;          /* first */
    struct fg_static_thread *thread;   /* NULL: the loop has closed */
    struct fg_static_request *request; /* NULL: it was cancelled */
    struct fg_list link;               /* in thread->free or thread->at_work */

    /* in */
    int root_fd;
    int fd; /* -1: open `path` first; the reader's while it works */
    uint64_t offset;
    size_t bytes_wanted;
    enum fg_file_symlinks symlinks;
    uint64_t file_bytes_max;          /* a larger one is not read */
    unsigned codings;                 /* 1 << enum fg_coding each: may be opened in its place */
    struct fg_accept_encoding accept; /* which of them its client takes; valid if there are any */
    char path[PATH_MAX];

    /* out */
    enum fg_file_outcome outcome;
    struct fg_file_facts facts; /* after opening */
    size_t bytes_read;
    char *buffer; /* FG_FILE_READ_BYTES */
};

struct fg_static {
    struct fg_backend base; /* first */
    struct fg_static_conf conf;
    int root_fd;
    struct fg_counter requests;
    struct fg_counter served;
    struct fg_counter not_modified;
    struct fg_counter partial;
    struct fg_counter precompressed;
    struct fg_counter not_found;
    struct fg_counter refused; /* a method, a directory without '/', too large, forbidden */
    struct fg_counter busy;
    struct fg_counter failed;
    struct fg_counter cancelled;
    struct fg_counter reads;
    struct fg_counter sent_bytes;
    struct fg_counter open_files;    /* a gauge */
    struct fg_counter gave_way;      /* unread by their clients, while others waited */
    struct fg_counter share_refused; /* whose client leaves its share of answers unread */
};

struct fg_static_thread {
    struct fg_backend_thread base; /* first */
    struct fg_static *files;
    struct fg_backend_env env;
    struct fg_list free;    /* readers */
    unsigned readers_made;  /* at most FG_FILE_READERS_MAX */
    struct fg_list at_work; /* readers with the helpers */
    unsigned readers_busy;  /* their number */
    struct fg_list waiting; /* requests that need a reader, first come first served */
    struct event retry;     /* the helpers had too much to do; try the waiting again */

    /* whose clients do not take what they asked for */
    struct fg_list paused; /* requests, in the order in which they paused */
    struct event look;
    struct fg_give_way give_way;
    struct fg_crowd unread; /* those, by their clients' addresses */
    struct fg_siphash_key owner_key;
};

/* One exchange; in its arena. */
struct fg_static_request {
    struct fg_exchange *ex;
    struct fg_static_thread *thread;
    struct fg_list link; /* in thread->waiting */
    struct fg_span name;
    struct fg_file_reader *reader; /* at work for it; NULL between two reads */
    int fd;                        /* -1: not open, or the reader has it */
    uint64_t offset;
    uint64_t left_bytes;               /* of the file, or of the present part */
    const struct fg_byte_parts *parts; /* several ranges; NULL: one, or the whole */
    size_t part;                       /* the present one */
    bool is_answering;                 /* the head has been sent */
    bool is_paused;                    /* a write has filled the client's buffer */
    bool is_counted;                   /* in files->open_files */
    struct fg_list paused_link;        /* in thread->paused */
    uint64_t owner;                    /* its client's address, hashed; 0: not asked yet */
};

/* ---- slow_readers.c ---- */

FG_MUST_USE bool fg_static_slow_readers_init(struct fg_static_thread *thread);
/* No request is open. */
void fg_static_slow_readers_fini(struct fg_static_thread *thread);
/* How many answers its client leaves unread, of this loop. */
uint32_t fg_static_held(struct fg_static_request *request);
/* Has its client a place left for it? Asked once, when it begins. */
FG_MUST_USE bool fg_static_may_start(struct fg_static_request *request);
/* It is paused. Harmless twice. */
void fg_static_watch(struct fg_static_request *request);
/* It goes on, or is over. Harmless twice. */
void fg_static_forget(struct fg_static_request *request);

/* ---- static_request.c ---- */

/* Its client takes nothing, and others wait: ends it. */
void fg_static_request_give_way(struct fg_static_request *request);

/* ---- file_reader.c ---- */

/* On a helper. */
void fg_file_read_in_helper(struct fg_helper_job *job);
/* NULL when FG_FILE_READERS_MAX are in use or memory is short. */
struct fg_file_reader *fg_file_reader_try_acquire(struct fg_static_thread *thread);
void fg_file_reader_release(struct fg_file_reader *reader);
void fg_file_reader_destroy(struct fg_file_reader *reader);

/* ---- static_request.c ---- */

/* After a pause: the retry event's work. */
void fg_static_request_serve_waiting(struct fg_static_thread *thread);
void fg_static_request_start(struct fg_static_thread *thread, struct fg_exchange *ex);
void fg_static_request_on_writable(struct fg_static_request *request);
void fg_static_request_cancel(struct fg_static_request *request);

#endif
