/*
 * cache_compress.c: gzip always, brotli and zstd where the libraries are.
 * Job      one helper job a coding and body; what is no smaller than the original is not kept.
 * Thread   asked for on any loop, made on a helper, one at a time (tens of MiB take brotli
 *          seconds), freed on the loop that asked.
 * Never    makes one of a body that was pushed out meanwhile.
 * Memory   the body's charge in the store covers as many bytes again as it has.
 */
#include "cache_compress.h"

#include <stdlib.h>
#include <zlib.h>
#ifdef FG_HAVE_BROTLI
#include <brotli/encode.h>
#endif
#ifdef FG_HAVE_ZSTD
#include <zstd.h>
#endif

/* Made once and sent a thousand times: worth more than the fastest, less than the best. */
#define GZIP_LEVEL 8
#define BROTLI_LEVEL 9
#define ZSTD_LEVEL 15

struct job {
    struct fg_helper_job job;
    struct fg_cache_store *store;
    struct fg_cache_body *body;
    enum fg_coding coding;
};

/* Each returns the length, or 0 when it does not fit into `room` or fails. */

static size_t make_gzip(struct fg_span from, char *to, size_t room)
{
    z_stream stream = {0};
    if (from.len > UINT32_MAX ||
        /* 15 + 16: the largest window, with a gzip wrapper */
        deflateInit2(&stream, GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    stream.next_in = (unsigned char *)(uintptr_t)from.data;
    stream.avail_in = (uInt)from.len;
    stream.next_out = (unsigned char *)to;
    stream.avail_out = (uInt)room;
    bool is_whole = deflate(&stream, Z_FINISH) == Z_STREAM_END;
    size_t len = is_whole ? stream.total_out : 0;
    deflateEnd(&stream);
    return len;
}

static size_t make_brotli(struct fg_span from, char *to, size_t room)
{
#ifdef FG_HAVE_BROTLI
    size_t len = room;
    if (BrotliEncoderCompress(BROTLI_LEVEL, BROTLI_DEFAULT_WINDOW, BROTLI_MODE_TEXT, from.len,
                              (const uint8_t *)from.data, &len, (uint8_t *)to) == BROTLI_TRUE)
        return len;
#else
    (void)from;
    (void)to;
    (void)room;
#endif
    return 0;
}

static size_t make_zstd(struct fg_span from, char *to, size_t room)
{
#ifdef FG_HAVE_ZSTD
    size_t len = ZSTD_compress(to, room, from.data, from.len, ZSTD_LEVEL);
    if (ZSTD_isError(len) == 0)
        return len;
#else
    (void)from;
    (void)to;
    (void)room;
#endif
    return 0;
}

static size_t room_left(const struct job *job)
{
    size_t len = fg_cache_body_span(job->body).len;
    size_t used = 0;
    for (unsigned i = FG_CODING_IDENTITY + 1; i < FG_CODING_COUNT; i++) {
        const struct fg_cache_body *other = fg_cache_body_variant(job->body, (enum fg_coding)i);
        if (other != NULL)
            used += fg_cache_body_span(other).len;
    }
    return used < len ? len - used : 0;
}

/* Into a buffer of the largest size it may have, then into one of its own. */
static struct fg_cache_body *make(const struct job *job)
{
    size_t room = room_left(job);
    char *scratch = malloc(room + 1);
    if (scratch == NULL)
        return NULL;
    struct fg_span from = fg_cache_body_span(job->body);
    size_t len = 0;
    if (job->coding == FG_CODING_GZIP)
        len = make_gzip(from, scratch, room);
    else if (job->coding == FG_CODING_BR)
        len = make_brotli(from, scratch, room);
    else if (job->coding == FG_CODING_ZSTD)
        len = make_zstd(from, scratch, room);
    struct fg_cache_body *variant = len == 0 ? NULL : fg_cache_body_create(len);
    if (variant != NULL)
        memcpy(fg_cache_body_room(variant), scratch, len);
    free(scratch);
    return variant;
}

static void work(struct fg_helper_job *helper_job)
{
    struct job *job = FG_CONTAINER_OF(helper_job, struct job, job);
    if (fg_cache_body_is_lent(job->body)) { /* who asks next will get another one */
        fg_cache_body_unclaim_variant(job->body, job->coding);
        return;
    }
    struct fg_cache_body *variant = make(job);
    if (variant == NULL)
        return;
    size_t saved = fg_cache_body_span(job->body).len - fg_cache_body_span(variant).len;
    fg_cache_body_set_variant(job->body, job->coding, variant);
    fg_cache_store_count(job->store, FG_CACHE_EVENT_VARIANT, 1);
    fg_cache_store_count(job->store, FG_CACHE_EVENT_VARIANT_BYTES, saved);
}

static void done(struct fg_message *message)
{
    struct job *job =
        FG_CONTAINER_OF(FG_CONTAINER_OF(message, struct fg_helper_job, message), struct job, job);
    fg_cache_store_end_variant(job->store, fg_cache_body_span(job->body).len);
    fg_cache_body_release(job->body);
    free(job);
}

unsigned fg_cache_codings(void)
{
    unsigned codings = 1u << FG_CODING_GZIP;
#ifdef FG_HAVE_BROTLI
    codings |= 1u << FG_CODING_BR;
#endif
#ifdef FG_HAVE_ZSTD
    codings |= 1u << FG_CODING_ZSTD;
#endif
    return codings;
}

/* False: there is no memory, or too much to do already. */
static bool submit(struct fg_helper_pool *helper, const struct job *made)
{
    struct job *job = malloc(sizeof(*job));
    if (job == NULL)
        return false;
    *job = *made;
    fg_cache_body_acquire(job->body);
    if (fg_helper_pool_try_long(helper, &job->job) == FG_OK)
        return true;
    fg_cache_body_release(job->body);
    free(job);
    return false;
}

void fg_cache_compress(struct fg_cache_store *store, struct fg_helper_pool *helper,
                       struct fg_mailbox *reply_to, struct fg_cache_body *body,
                       enum fg_coding coding)
{
    const size_t len = fg_cache_body_span(body).len;
    const struct job job = {
        .job = {.message = {.run = done}, .work = work, .reply_to = reply_to},
        .store = store,
        .body = body,
        .coding = coding,
    };
    if (helper == NULL || !fg_cache_body_claim_variant(body, coding))
        return;
    bool has_begun = fg_cache_store_try_begin_variant(store, len);
    if (has_begun && submit(helper, &job))
        return;
    if (has_begun)
        fg_cache_store_end_variant(store, len);
    fg_cache_body_unclaim_variant(body, coding); /* busy: the next one asks again */
}
