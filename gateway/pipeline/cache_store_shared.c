/*
 * cache_store_shared.c: shards of (hash table + S3-FIFO + flights).
 *
 *    slot[hash] --> object --> object      one allocation an object: struct | fields | strings |
 * body flights    --> flight --> waiter --> waiter marks[hash % N] = (hash, until): keys whose
 * answers turned out not to be sharable
 */
#include "cache_store_shared.h"

#include "base/clock.h"
#include "base/list.h"
#include "policies/cache/s3_fifo.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>
#include <zlib.h>

#define SHARDS 8u
#define SLOTS 4096u
#define MARKS 1024u
#define MARK_NS (5 * FG_S)
#define GHOSTS 4096u

struct fg_cache_object {
    atomic_uint references;
    struct fg_cache_object *next_same; /* in the slot; guarded by the shard's lock */
    struct fg_s3_entry entry;          /* guarded by the shard's lock */
    struct fg_span key;
    struct fg_cache_view view; /* but for gzip */
    struct gzip_variant *_Atomic gzip;
};

struct gzip_variant {
    size_t len;
    unsigned char data[];
};

struct fg_cache_waiter {
    struct fg_list link; /* in the flight; guarded by the shard's lock */
    struct fg_message message;
    struct fg_cache_waiter *next_free;
    struct fg_cache_waiters *home;
    struct shard *shard;
    struct fg_mailbox *mailbox;
    fg_cache_ready_fn on_ready;
    void *owner;       /* NULL: abandoned */
    bool is_in_flight; /* guarded by the shard's lock */
    struct fg_cache_object *object;
    bool is_uncacheable;
};

struct fg_cache_flight {
    struct fg_cache_flight *next;
    struct fg_list waiters;
    uint32_t waiter_count;
    uint64_t hash;
    struct fg_span key; /* behind the struct */
};

struct mark {
    uint64_t hash;
    uint64_t until_ns;
};

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct fg_cache_object *slots[SLOTS];
    struct fg_cache_flight *flights;
    struct fg_s3_fifo fifo;
    struct mark marks[MARKS];
    uint64_t stored_total;
};

struct fg_cache_store {
    struct fg_cache_conf conf;
    struct fg_helper_pool *helper;
    uint64_t seed;
    void *ghosts;
    atomic_ullong gzip_total;
    struct shard shards[SHARDS];
};

/* Compression of one object, off the loops; the reply frees the job on the loop that asked. */
struct gzip_job {
    struct fg_helper_job job;
    struct fg_cache_store *store;
    struct fg_cache_object *object;
};

struct fg_cache_store *fg_cache_store_create(const struct fg_cache_conf *conf,
                                             struct fg_helper_pool *helper)
{
    struct fg_cache_store *store = aligned_alloc(64, sizeof(*store));
    if (store == NULL)
        return NULL;
    memset(store, 0, sizeof(*store));
    store->conf = *conf;
    store->helper = helper;
    size_t ghost_bytes = fg_s3_fifo_bytes(GHOSTS);
    store->ghosts = calloc(SHARDS, ghost_bytes);
    if (store->ghosts == NULL ||
        getrandom(&store->seed, sizeof(store->seed), 0) != sizeof(store->seed)) {
        free(store->ghosts);
        free(store);
        return NULL;
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&store->shards[i].lock, NULL);
        fg_s3_fifo_init(&store->shards[i].fifo, conf->bytes_max / SHARDS,
                        (char *)store->ghosts + i * ghost_bytes, ghost_bytes, GHOSTS);
    }
    return store;
}

void fg_cache_object_release(struct fg_cache_object *object)
{
    /* acq_rel: the last owner sees all that the others did before they let go */
    if (object == NULL ||
        atomic_fetch_sub_explicit(&object->references, 1, memory_order_acq_rel) != 1)
        return;
    free(atomic_load_explicit(&object->gzip, memory_order_relaxed));
    free(object);
}

void fg_cache_store_destroy(struct fg_cache_store *store)
{
    if (store == NULL)
        return;
    fg_cache_store_purge(store, (struct fg_span){NULL, 0});
    for (unsigned i = 0; i < SHARDS; i++) {
        assert(store->shards[i].flights == NULL);
        pthread_mutex_destroy(&store->shards[i].lock);
    }
    free(store->ghosts);
    free(store);
}

static struct shard *shard_of(struct fg_cache_store *store, uint64_t hash)
{
    return &store->shards[hash >> 61];
}

static struct fg_cache_object **slot_of(struct shard *shard, uint64_t hash)
{
    return &shard->slots[hash % SLOTS];
}

static struct fg_cache_object *find(struct shard *shard, uint64_t hash, struct fg_span key)
{
    for (struct fg_cache_object *object = *slot_of(shard, hash); object != NULL;
         object = object->next_same) {
        if (object->entry.hash == hash && fg_span_equal(object->key, key))
            return object;
    }
    return NULL;
}

struct fg_cache_object *fg_cache_store_get(struct fg_cache_store *store, struct fg_span key)
{
    uint64_t hash = fg_span_hash(key, store->seed);
    struct shard *shard = shard_of(store, hash);
    pthread_mutex_lock(&shard->lock);
    struct fg_cache_object *object = find(shard, hash, key);
    if (object != NULL) {
        fg_s3_fifo_touch(&object->entry);
        atomic_fetch_add_explicit(&object->references, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&shard->lock);
    return object;
}

struct fg_cache_view fg_cache_object_view(const struct fg_cache_object *object)
{
    struct fg_cache_view view = object->view;
    const struct gzip_variant *gzip = atomic_load_explicit(&object->gzip, memory_order_acquire);
    view.gzip = gzip == NULL ? (struct fg_span){NULL, 0}
                             : fg_span_make((const char *)gzip->data, gzip->len);
    return view;
}

/* With the lock held; the reference of the table goes to the caller. */
static void unlink_object(struct shard *shard, struct fg_cache_object *object)
{
    struct fg_cache_object **at = slot_of(shard, object->entry.hash);
    while (*at != object)
        at = &(*at)->next_same;
    *at = object->next_same;
    object->next_same = NULL;
}

static struct fg_span put(char **at, struct fg_span span)
{
    struct fg_span copy = {*at, span.len};
    if (span.len > 0)
        memcpy(*at, span.data, span.len);
    *at += span.len;
    return copy;
}

static struct fg_cache_object *make_object(const struct fg_cache_draft *draft, uint64_t hash)
{
    size_t bytes = sizeof(struct fg_cache_object) + draft->field_count * sizeof(struct fg_field) +
                   draft->key.len + draft->body.len;
    for (size_t i = 0; i < draft->field_count; i++)
        bytes += draft->fields[i].name.len + draft->fields[i].value.len;
    struct fg_cache_object *object = calloc(1, bytes);
    if (object == NULL)
        return NULL;
    struct fg_field *fields = (struct fg_field *)(void *)(object + 1);
    char *at = (char *)(fields + draft->field_count);
    atomic_init(&object->references, 1);
    object->entry.hash = hash;
    object->entry.bytes = draft->is_compressible ? bytes + draft->body.len : bytes;
    object->key = put(&at, draft->key);
    object->view = (struct fg_cache_view){.status = draft->status,
                                          .fields = fields,
                                          .field_count = draft->field_count,
                                          .response = draft->response,
                                          .lifetime_s = draft->lifetime_s,
                                          .initial_age_ns = draft->initial_age_ns,
                                          .stored_ns = draft->stored_ns};
    for (size_t i = 0; i < draft->field_count; i++) {
        fields[i].name = put(&at, draft->fields[i].name);
        fields[i].value = put(&at, draft->fields[i].value);
        if (fg_span_equal(fields[i].name, FG_SPAN("etag")))
            object->view.etag = fields[i].value;
    }
    object->view.body = put(&at, draft->body);
    return object;
}

static void gzip_work(struct fg_helper_job *job)
{
    struct gzip_job *gzip = FG_CONTAINER_OF(job, struct gzip_job, job);
    struct fg_span body = gzip->object->view.body;
    z_stream stream = {0};
    /* 15 + 16: the largest window, with a gzip wrapper */
    if (deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return;
    struct gzip_variant *variant = malloc(sizeof(*variant) + body.len);
    if (variant != NULL) {
        stream.next_in = (unsigned char *)(uintptr_t)body.data;
        stream.avail_in = (uInt)body.len;
        stream.next_out = variant->data;
        stream.avail_out = (uInt)body.len;
        /* Not done within the size of the original: not worth having. */
        if (deflate(&stream, Z_FINISH) == Z_STREAM_END) {
            variant->len = stream.total_out;
            atomic_store_explicit(&gzip->object->gzip, variant, memory_order_release);
            atomic_fetch_add_explicit(&gzip->store->gzip_total, 1, memory_order_relaxed);
        } else {
            free(variant);
        }
    }
    deflateEnd(&stream);
}

static void gzip_done(struct fg_message *message)
{
    struct gzip_job *gzip = FG_CONTAINER_OF(FG_CONTAINER_OF(message, struct fg_helper_job, message),
                                            struct gzip_job, job);
    fg_cache_object_release(gzip->object);
    free(gzip);
}

static void submit_gzip(struct fg_cache_store *store, struct fg_cache_object *object,
                        struct fg_mailbox *reply_to)
{
    struct gzip_job *gzip = calloc(1, sizeof(*gzip));
    if (gzip == NULL)
        return;
    *gzip = (struct gzip_job){
        .job = {.message = {.run = gzip_done}, .work = gzip_work, .reply_to = reply_to},
        .store = store,
        .object = object,
    };
    atomic_fetch_add_explicit(&object->references, 1, memory_order_relaxed);
    if (fg_helper_pool_try_submit(store->helper, &gzip->job) != FG_OK) {
        fg_cache_object_release(object); /* busy: served as it is */
        free(gzip);
    }
}

/* With the lock held: puts `object` into the table in place of an older one. The list of objects to
 * release afterwards, through next_same. False when it is larger than the shard. */
static bool publish(struct shard *shard, struct fg_cache_object *object,
                    struct fg_cache_object **to_release)
{
    struct fg_cache_object *older = find(shard, object->entry.hash, object->key);
    if (older != NULL) {
        unlink_object(shard, older);
        fg_s3_fifo_remove(&shard->fifo, &older->entry);
        older->next_same = *to_release;
        *to_release = older;
    }
    struct fg_s3_entry *evicted = NULL;
    uint64_t hash = object->entry.hash;
    if (!fg_s3_fifo_insert(&shard->fifo, &object->entry, hash, object->entry.bytes, &evicted))
        return false;
    while (evicted != NULL) {
        struct fg_s3_entry *next = evicted->next;
        struct fg_cache_object *gone = FG_CONTAINER_OF(evicted, struct fg_cache_object, entry);
        unlink_object(shard, gone);
        gone->next_same = *to_release;
        *to_release = gone;
        evicted = next;
    }
    struct fg_cache_object **slot = slot_of(shard, hash);
    object->next_same = *slot;
    *slot = object;
    shard->stored_total++;
    return true;
}

static void release_chain(struct fg_cache_object *chain)
{
    while (chain != NULL) {
        struct fg_cache_object *next = chain->next_same;
        chain->next_same = NULL;
        fg_cache_object_release(chain);
        chain = next;
    }
}

/* ---- flights ---- */

void fg_cache_waiters_fini(struct fg_cache_waiters *waiters)
{
    while (waiters->free != NULL) {
        struct fg_cache_waiter *waiter = waiters->free;
        waiters->free = waiter->next_free;
        free(waiter);
    }
}

static void free_waiter(struct fg_cache_waiter *waiter)
{
    waiter->owner = NULL;
    waiter->next_free = waiter->home->free;
    waiter->home->free = waiter;
}

static void on_waiter_message(struct fg_message *message)
{
    struct fg_cache_waiter *waiter = FG_CONTAINER_OF(message, struct fg_cache_waiter, message);
    struct fg_cache_object *object = waiter->object;
    bool is_uncacheable = waiter->is_uncacheable;
    fg_cache_ready_fn on_ready = waiter->on_ready;
    void *owner = waiter->owner;
    free_waiter(waiter);
    if (owner != NULL)
        on_ready(owner, object, is_uncacheable);
    else
        fg_cache_object_release(object);
}

static struct fg_cache_waiter *take_waiter(struct fg_cache_waiters *waiters)
{
    struct fg_cache_waiter *waiter = waiters->free;
    if (waiter != NULL)
        waiters->free = waiter->next_free;
    else
        waiter = malloc(sizeof(*waiter));
    if (waiter != NULL) {
        *waiter = (struct fg_cache_waiter){.home = waiters, .message = {.run = on_waiter_message}};
        fg_list_init(&waiter->link);
    }
    return waiter;
}

static struct fg_cache_flight *find_flight(struct shard *shard, uint64_t hash, struct fg_span key)
{
    struct fg_cache_flight *flight = shard->flights;
    while (flight != NULL && (flight->hash != hash || !fg_span_equal(flight->key, key)))
        flight = flight->next;
    return flight;
}

static struct fg_cache_flight *start_flight(struct shard *shard, uint64_t hash, struct fg_span key)
{
    struct fg_cache_flight *flight = malloc(sizeof(*flight) + key.len);
    if (flight == NULL)
        return NULL;
    char *at = (char *)(flight + 1);
    *flight = (struct fg_cache_flight){.next = shard->flights, .hash = hash, .key = put(&at, key)};
    fg_list_init(&flight->waiters);
    shard->flights = flight;
    return flight;
}

enum fg_cache_role
fg_cache_store_lead_or_wait(struct fg_cache_store *store, struct fg_span key, uint64_t now_ns,
                            bool may_wait, struct fg_cache_waiters *waiters,
                            struct fg_mailbox *mailbox, fg_cache_ready_fn on_ready, void *owner,
                            struct fg_cache_flight **flight, struct fg_cache_waiter **waiter)
{
    uint64_t hash = fg_span_hash(key, store->seed);
    struct shard *shard = shard_of(store, hash);
    struct fg_cache_waiter *mine = may_wait ? take_waiter(waiters) : NULL;
    enum fg_cache_role role;
    pthread_mutex_lock(&shard->lock);
    const struct mark *mark = &shard->marks[hash % MARKS];
    struct fg_cache_flight *other = find_flight(shard, hash, key);
    if (mark->hash == hash && now_ns < mark->until_ns) {
        role = FG_CACHE_ALONE;
    } else if (other == NULL) {
        *flight = start_flight(shard, hash, key);
        role = *flight == NULL ? FG_CACHE_ALONE : FG_CACHE_LEAD;
    } else if (mine == NULL || other->waiter_count >= store->conf.waiters_max) {
        role = FG_CACHE_TOO_MANY;
    } else {
        mine->shard = shard;
        mine->mailbox = mailbox;
        mine->on_ready = on_ready;
        mine->owner = owner;
        mine->is_in_flight = true;
        fg_list_push_back(&other->waiters, &mine->link);
        other->waiter_count++;
        *waiter = mine;
        role = FG_CACHE_WAITING;
    }
    pthread_mutex_unlock(&shard->lock);
    if (mine != NULL && role != FG_CACHE_WAITING)
        free_waiter(mine);
    return role;
}

void fg_cache_waiter_abandon(struct fg_cache_waiter *waiter)
{
    struct shard *shard = waiter->shard;
    pthread_mutex_lock(&shard->lock);
    bool was_in_flight = waiter->is_in_flight;
    if (was_in_flight)
        fg_list_remove(&waiter->link);
    pthread_mutex_unlock(&shard->lock);
    if (was_in_flight)
        free_waiter(waiter);
    else
        waiter->owner = NULL; /* its message is on the way and will find nobody */
}

static void remove_flight(struct shard *shard, struct fg_cache_flight *flight)
{
    struct fg_cache_flight **at = &shard->flights;
    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
}

void fg_cache_flight_finish(struct fg_cache_store *store, struct fg_cache_flight *flight,
                            const struct fg_cache_draft *draft, bool is_uncacheable,
                            uint64_t now_ns, struct fg_mailbox *mailbox)
{
    struct shard *shard = shard_of(store, flight->hash);
    struct fg_cache_object *object = draft == NULL ? NULL : make_object(draft, flight->hash);
    struct fg_cache_object *to_release = NULL;
    pthread_mutex_lock(&shard->lock);
    remove_flight(shard, flight);
    bool is_stored = object != NULL && publish(shard, object, &to_release);
    if (is_uncacheable)
        shard->marks[flight->hash % MARKS] = (struct mark){flight->hash, now_ns + MARK_NS};
    FG_LIST_EACH_SAFE(link, after, &flight->waiters)
    {
        struct fg_cache_waiter *waiter = FG_CONTAINER_OF(link, struct fg_cache_waiter, link);
        waiter->is_in_flight = false;
        waiter->is_uncacheable = is_uncacheable;
        waiter->object = object;
        if (object != NULL)
            atomic_fetch_add_explicit(&object->references, 1, memory_order_relaxed);
    }
    if (is_stored) /* for this function; the table has its own */
        atomic_fetch_add_explicit(&object->references, 1, memory_order_relaxed);
    pthread_mutex_unlock(&shard->lock);
    struct fg_list *link;
    while ((link = fg_list_pop_front(&flight->waiters)) != NULL) {
        struct fg_cache_waiter *waiter = FG_CONTAINER_OF(link, struct fg_cache_waiter, link);
        fg_mailbox_post(waiter->mailbox, &waiter->message);
    }
    if (is_stored && draft->is_compressible && store->helper != NULL)
        submit_gzip(store, object, mailbox);
    release_chain(to_release);
    fg_cache_object_release(object);
    free(flight);
}

uint64_t fg_cache_store_purge(struct fg_cache_store *store, struct fg_span prefix)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *shard = &store->shards[i];
        struct fg_cache_object *to_release = NULL;
        pthread_mutex_lock(&shard->lock);
        for (unsigned s = 0; s < SLOTS; s++) {
            struct fg_cache_object **at = &shard->slots[s];
            while (*at != NULL) {
                struct fg_cache_object *object = *at;
                struct fg_span path = object->key;
                (void)fg_span_split(&path, '\n'); /* key: authority \n path?query */
                if (prefix.len > 0 && !fg_span_starts_with(path, prefix)) {
                    at = &object->next_same;
                    continue;
                }
                *at = object->next_same;
                fg_s3_fifo_remove(&shard->fifo, &object->entry);
                object->next_same = to_release;
                to_release = object;
                count++;
            }
        }
        pthread_mutex_unlock(&shard->lock);
        release_chain(to_release);
    }
    return count;
}

struct fg_cache_store_stats fg_cache_store_stats(struct fg_cache_store *store)
{
    struct fg_cache_store_stats stats = {.bytes_max = store->conf.bytes_max};
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *shard = &store->shards[i];
        pthread_mutex_lock(&shard->lock);
        stats.objects += fg_s3_fifo_count(&shard->fifo);
        stats.bytes += fg_s3_fifo_bytes_used(&shard->fifo);
        stats.evicted_total += shard->fifo.evicted_total;
        stats.stored_total += shard->stored_total;
        pthread_mutex_unlock(&shard->lock);
    }
    stats.gzip_total = atomic_load_explicit(&store->gzip_total, memory_order_relaxed);
    return stats;
}
