/*
 * cache_object_shared.h: a stored response: its head, its body, and other codings of that body.
 *
 *    object (status, fields, times) --> body (bytes) --> variant gzip | zstd | br (a body each)
 *
 * Protocol  both are counted, and immutable once anybody else has them, but for a body's variants:
 *           each is set once, released by the helper thread and acquired by readers. Freshening by
 *           a 304 makes a new object over the same body, variants and all.
 * Memory    one allocation each; fg_cache_object_bytes is what the store charges for.
 */
#ifndef FG_PIPELINE_CACHE_OBJECT_SHARED_H
#define FG_PIPELINE_CACHE_OBJECT_SHARED_H

#include "backends/backend.h"
#include "base/counters_shared.h"
#include "policies/cache/accept_encoding.h"
#include "policies/cache/freshness.h"
#include "policies/cache/s3_fifo.h"

/* ---- bodies ---- */

struct fg_cache_body;

/* Room for `len` bytes, all of them owned by the caller's one reference. NULL without memory. */
struct fg_cache_body *fg_cache_body_create(size_t len);
/* To be written by its one owner before anybody else has it. */
char *fg_cache_body_room(struct fg_cache_body *body);
void fg_cache_body_set_len(struct fg_cache_body *body, size_t len); /* not more than created for */
struct fg_span fg_cache_body_span(const struct fg_cache_body *body);
void fg_cache_body_acquire(struct fg_cache_body *body);
/* `body` is a struct fg_cache_body; NULL is fine. The type suits fg_response_write_shared. */
void fg_cache_body_release(void *body);

/* NULL: not made (yet). IDENTITY gives the body itself. Lives as long as `body`. */
struct fg_cache_body *fg_cache_body_variant(struct fg_cache_body *body, enum fg_coding coding);
/* Takes over the reference to `variant`. Once for each coding. */
void fg_cache_body_set_variant(struct fg_cache_body *body, enum fg_coding coding,
                               struct fg_cache_body *variant);
/* True for one caller a coding: that one has it made, or gives the claim back. */
bool fg_cache_body_claim_variant(struct fg_cache_body *body, enum fg_coding coding);
void fg_cache_body_unclaim_variant(struct fg_cache_body *body, enum fg_coding coding);

/*
 * A body is in the store once for each object there that has it; the shard's lock guards that. One
 * that has left the store while readers still hold it counts in `lent` until it is freed.
 */
void fg_cache_body_enter_store(struct fg_cache_body *body);
void fg_cache_body_leave_store(struct fg_cache_body *body, struct fg_counter *lent);
/* Does it count there now? A moment later that may be different. */
bool fg_cache_body_is_lent(const struct fg_cache_body *body);

/* ---- objects ---- */

/* What a head is made from; everything is copied. */
struct fg_cache_draft {
    struct fg_span key;     /* see cache_key.h */
    uint32_t route_index;   /* responses of different routes never answer for each other */
    struct fg_span vary;    /* names, or empty */
    struct fg_span selects; /* what the request had in those fields, see cache_key.h */
    struct fg_span tags;    /* for purging: Surrogate-Key and Cache-Tag, space separated */
    unsigned status;
    const struct fg_field *fields; /* end-to-end fields, without content-length and age */
    size_t field_count;
    struct fg_cache_response response; /* for judging freshness */
    uint32_t lifetime_s;
    uint64_t initial_age_ns;
    uint64_t stored_ns; /* monotonic */
    bool is_compressible;
    bool is_too_odd; /* what this one request has in the fields that select is too long to keep */
    bool is_pinned;
    bool must_ask; /* given stale alone: it was purged with all others, in an earlier process */
};

struct fg_cache_object {
    /* links; guarded by the shard's lock once published */
    struct fg_cache_object *next_same;
    struct fg_s3_entry entry;
    /* the rest is immutable once published */
    uint64_t hash;
    struct fg_cache_draft head; /* spans are the object's own */
    struct fg_span etag;        /* data is NULL: none */
    struct fg_span last_modified;
    struct fg_span length_text; /* of the body, for Content-Length */
    struct fg_cache_body *body; /* NULL while it is still being fetched */
};

/* One reference, the caller's. NULL without memory. */
struct fg_cache_object *fg_cache_object_create(const struct fg_cache_draft *draft);
/* Before publishing; takes over the reference to `body`. */
void fg_cache_object_set_body(struct fg_cache_object *object, struct fg_cache_body *body);
/* All that it costs, with what its variants may come to. */
uint64_t fg_cache_object_bytes(const struct fg_cache_object *object);
void fg_cache_object_acquire(struct fg_cache_object *object);
void fg_cache_object_release(struct fg_cache_object *object); /* NULL is fine */

#endif
