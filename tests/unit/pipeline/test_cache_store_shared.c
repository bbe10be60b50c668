/*
 * test_cache_store_shared.c: who leads and who joins, what is replaced, evicted, pinned, purged and
 * invalidated, and that a purge reaches what is still on its way; bytes bounded.
 */
#include "base/clock.h"
#include "base/counters_shared.h"
#include "base/local_hash.h"
#include "pipeline/cache_compress.h"
#include "pipeline/cache_key.h"
#include "pipeline/cache_store_shared.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>
#include <cmocka.h>

static const struct fg_cache_conf conf = {
    .bytes_max = 8 << 20, .object_bytes_max = 256 << 10, .waiters_max = 2, .unshared_at_once = 8};
static const struct fg_cache_hops no_hops;

struct fixture {
    struct fg_cache_store *store;
    struct fg_loop *loop;
    struct fg_cache_readers readers;
    struct fg_exchange ex;
    struct fg_field fields[2];
};

static void on_news(void *owner)
{
    (*(unsigned *)owner)++;
}

static void open_fixture(struct fixture *f)
{
    *f = (struct fixture){.readers = {NULL}};
    f->loop = fg_loop_create(0, 64);
    f->store = fg_cache_store_create(&conf);
    assert_non_null(f->store);
    f->ex.fields = f->fields;
}

static void close_fixture(struct fixture *f)
{
    fg_cache_readers_fini(&f->readers);
    fg_cache_store_destroy(f->store);
    fg_loop_destroy(f->loop);
}

static struct fg_cache_ask ask_for(const struct fixture *f, const char *key)
{
    return (struct fg_cache_ask){.ex = &f->ex, .key = fg_span_from_string(key)};
}

static enum fg_cache_role ask(struct fixture *f, const struct fg_cache_ask *what, uint64_t now_ns,
                              unsigned *news, struct fg_cache_reader **reader,
                              struct fg_cache_stream **stream)
{
    *reader = fg_cache_reader_create(&f->readers, f->loop, on_news, news);
    return fg_cache_store_lead_or_join(f->store, what, now_ns, f->loop, false, *reader, stream);
}

static struct fg_cache_object *object_of(const char *key, struct fg_span body)
{
    static const struct fg_field fields[] = {
        {FG_SPAN_LITERAL("content-type"), FG_SPAN_LITERAL("text/html")},
        {FG_SPAN_LITERAL("etag"), FG_SPAN_LITERAL("\"v1\"")},
    };
    struct fg_cache_object *object =
        fg_cache_object_create(&(struct fg_cache_draft){.key = fg_span_from_string(key),
                                                        .status = 200,
                                                        .fields = fields,
                                                        .field_count = 2,
                                                        .lifetime_s = 60});
    struct fg_cache_body *bytes = fg_cache_body_create(body.len);
    memcpy(fg_cache_body_room(bytes), body.data, body.len);
    fg_cache_object_set_body(object, bytes);
    return object;
}

/* Stores `object` under its key as a fetch would; the reference is used up. */
static bool store_object(struct fixture *f, struct fg_cache_object *object)
{
    struct fg_cache_ask what = {
        .ex = &f->ex, .key = object->head.key, .route_index = object->head.route_index};
    struct fg_cache_stream *stream = NULL;
    assert_int_equal(fg_cache_store_lead_or_join(f->store, &what, 0, f->loop, false, NULL, &stream),
                     FG_CACHE_LEAD);
    bool is_stored = fg_cache_store_publish(f->store, stream, object);
    fg_cache_object_release(object);
    fg_cache_stream_drop_writer(stream);
    return is_stored;
}

static bool is_stored(struct fixture *f, const struct fg_cache_ask *what)
{
    struct fg_cache_object *object = fg_cache_store_get(f->store, what, NULL);
    fg_cache_object_release(object);
    return object != NULL;
}

static void one_leads_and_the_others_join(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    unsigned news = 0;
    struct fg_cache_ask what = ask_for(&f, "sh\n/a"), other = what, authorized = what;
    other.route_index = 1;
    authorized.has_authorization = true;
    struct fg_cache_reader *reader[6];
    struct fg_cache_stream *stream = NULL, *others = NULL, *own = NULL;
    assert_int_equal(ask(&f, &what, 0, &news, &reader[0], &stream), FG_CACHE_LEAD);
    assert_int_equal(ask(&f, &what, 0, &news, &reader[1], &stream), FG_CACHE_JOINED);
    assert_int_equal(ask(&f, &what, 0, &news, &reader[2], &stream), FG_CACHE_JOINED);
    assert_int_equal(ask(&f, &what, 0, &news, &reader[3], &stream), FG_CACHE_TOO_MANY);
    assert_int_equal(ask(&f, &other, 0, &news, &reader[4], &others), FG_CACHE_LEAD);
    assert_int_equal(ask(&f, &authorized, 0, &news, &reader[5], &own), FG_CACHE_LEAD);
    assert_true(fg_cache_reader_is_leader(reader[0]));
    assert_false(fg_cache_reader_is_leader(reader[1]));
    assert_int_equal(fg_cache_store_stats(f.store).fetches, 3);
    /* known not to be for sharing: nobody queues behind anybody for a while */
    fg_cache_store_mark(f.store, stream, 0);
    struct fg_cache_stream *none = NULL;
    assert_int_equal(fg_cache_store_lead_or_join(f.store, &what, FG_S, f.loop, false, NULL, &none),
                     FG_CACHE_ALONE);
    assert_int_equal(
        fg_cache_store_lead_or_join(f.store, &what, 10 * FG_S, f.loop, false, NULL, &none),
        FG_CACHE_LEAD);
    /* its origin fails: who has something to give does not ask for a second */
    struct fg_cache_ask stale = other;
    stale.has_stale = true;
    struct fg_cache_stream *failing = NULL;
    fg_cache_store_note_failure(f.store, others, 20 * FG_S);
    assert_int_equal(
        fg_cache_store_lead_or_join(f.store, &stale, 21 * FG_S - 1, f.loop, false, NULL, &failing),
        FG_CACHE_FAILING);
    assert_int_equal(
        fg_cache_store_lead_or_join(f.store, &other, 21 * FG_S - 1, f.loop, false, NULL, &failing),
        FG_CACHE_LEAD);
    fg_cache_store_close(f.store, failing);
    fg_cache_stream_drop_writer(failing);
    assert_int_equal(
        fg_cache_store_lead_or_join(f.store, &stale, 21 * FG_S, f.loop, false, NULL, &failing),
        FG_CACHE_LEAD);
    fg_cache_store_close(f.store, failing);
    fg_cache_stream_drop_writer(failing);
    struct fg_cache_stream *streams[] = {stream, others, own, none};
    for (unsigned i = 0; i < 6; i++)
        fg_cache_reader_leave(reader[i]);
    for (unsigned i = 0; i < 4; i++) {
        fg_cache_store_close(f.store, streams[i]);
        fg_cache_stream_drop_writer(streams[i]);
    }
    close_fixture(&f);
}

static void keeps_to_its_bytes(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    static char body[200000];
    for (int i = 0; i < 200; i++) {
        char key[32];
        snprintf(key, sizeof(key), "sh\n/%d", i);
        assert_true(store_object(&f, object_of(key, fg_span_make(body, sizeof(body)))));
    }
    struct fg_cache_store_stats stats = fg_cache_store_stats(f.store);
    assert_true(stats.bytes <= conf.bytes_max);
    assert_true(stats.bytes > conf.bytes_max / 2);
    assert_true(stats.evicted_total > 100);
    close_fixture(&f);
}

static void a_pinned_object_stays(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    static char body[200000];
    struct fg_cache_object *pinned = object_of("sh\n/page", FG_SPAN("the page"));
    pinned->head.is_pinned = true;
    assert_true(store_object(&f, pinned));
    for (int i = 0; i < 300; i++) {
        char key[32];
        snprintf(key, sizeof(key), "sh\n/%d", i);
        store_object(&f, object_of(key, fg_span_make(body, sizeof(body))));
    }
    struct fg_cache_ask what = ask_for(&f, "sh\n/page");
    assert_true(is_stored(&f, &what));
    struct fg_cache_store_stats stats = fg_cache_store_stats(f.store);
    assert_int_equal(stats.pinned_objects, 1);
    assert_true(stats.bytes <= conf.bytes_max);
    assert_int_equal(fg_cache_store_purge(f.store, FG_CACHE_PURGE_PATH, FG_SPAN("/page")), 1);
    assert_int_equal(fg_cache_store_stats(f.store).pinned_bytes, 0);
    close_fixture(&f);
}

static void variants_stand_side_by_side(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct fg_cache_ask what = ask_for(&f, "sh\n/v");
    f.ex.field_count = 1;
    for (int i = 0; i < 40; i++) {
        char language[16], selects[64];
        snprintf(language, sizeof(language), "l%d", i);
        f.fields[0] = (struct fg_field){FG_SPAN("accept-language"), fg_span_from_string(language)};
        snprintf(selects, sizeof(selects), "accept-language:%s\n", language);
        struct fg_cache_object *object = object_of("sh\n/v", FG_SPAN("x"));
        object->head.vary = FG_SPAN("accept-language");
        object->head.selects = fg_span_from_string(selects);
        /* kept as it stands: the spans of the head point into the object otherwise */
        struct fg_cache_object *copy = fg_cache_object_create(&object->head);
        fg_cache_body_acquire(object->body);
        fg_cache_object_set_body(copy, object->body);
        fg_cache_object_release(object);
        assert_true(store_object(&f, copy));
        assert_true(is_stored(&f, &what));
    }
    f.fields[0].value = FG_SPAN("L39"); /* no case in language tags */
    assert_true(is_stored(&f, &what));
    f.fields[0].value = FG_SPAN("l0"); /* the oldest went */
    assert_false(is_stored(&f, &what));
    assert_true(fg_cache_store_stats(f.store).objects <= 16);
    fg_cache_store_invalidate(f.store, what.key); /* all variants at once */
    assert_int_equal(fg_cache_store_stats(f.store).objects, 0);
    close_fixture(&f);
}

/* What selects, of a client's choice: without a seed these two would have the same hash. */
static void make_twin(char text[33], char last)
{
    const uint64_t key = fg_local_fold(0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu);
    memset(text, '.', 32);
    memcpy(text + 10, &key, sizeof(key)); /* at 16 behind "x-who:": the product there is 0 */
    text[25] = last;                      /* the word that it takes in beside */
    text[32] = '\0';
}

static void collisions_cannot_be_prepared(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    char twins[2][33], selects[2][FG_CACHE_SELECTS_MAX];
    struct fg_cache_stream *streams[2];
    struct fg_cache_ask what = ask_for(&f, "sh\n/v");
    struct fg_cache_object *any = object_of("sh\n/v", FG_SPAN("x"));
    struct fg_cache_draft head = any->head;
    head.vary = FG_SPAN("x-who");
    head.selects = FG_SPAN("x-who:somebody\n");
    struct fg_cache_object *known = fg_cache_object_create(&head);
    fg_cache_body_acquire(any->body);
    fg_cache_object_set_body(known, any->body);
    fg_cache_object_release(any);
    assert_true(store_object(&f, known));
    f.ex.field_count = 1;
    for (int i = 0; i < 2; i++) {
        make_twin(twins[i], i == 0 ? 'a' : 'b');
        f.fields[0] = (struct fg_field){FG_SPAN("x-who"), fg_span_from_string(twins[i])};
        assert_int_equal(fg_cache_key_selects(&f.ex, head.vary, selects[i]), 39);
        assert_int_equal(
            fg_cache_store_lead_or_join(f.store, &what, 0, f.loop, false, NULL, &streams[i]),
            FG_CACHE_LEAD); /* neither reads along with the other */
    }
    assert_true(fg_local_hash(fg_span_make(selects[0], 39), 0) ==
                fg_local_hash(fg_span_make(selects[1], 39), 0));
    for (int i = 0; i < 2; i++) {
        fg_cache_store_close(f.store, streams[i]);
        fg_cache_stream_drop_writer(streams[i]);
    }
    close_fixture(&f);
}

static void purges_by_path_prefix_and_tag(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    static const char *const keys[] = {"sh\n/a", "sh\n/a?x=1", "hother\n/a", "sh\n/ab", "sh\n/b/c"};
    static const struct {
        enum fg_cache_purge_kind kind;
        const char *what;
        unsigned gone;
    } cases[] = {
        {FG_CACHE_PURGE_PATH, "/a", 3},   {FG_CACHE_PURGE_PATH, "/b", 0},
        {FG_CACHE_PURGE_PREFIX, "/a", 4}, {FG_CACHE_PURGE_PREFIX, "/b/", 1},
        {FG_CACHE_PURGE_TAG, "t2", 1},    {FG_CACHE_PURGE_TAG, "t", 5},
        {FG_CACHE_PURGE_TAG, "none", 0},  {FG_CACHE_PURGE_ALL, "", 5},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned k = 0; k < 5; k++) {
            char tags[16];
            snprintf(tags, sizeof(tags), "t t%u", k);
            struct fg_cache_object *object = object_of(keys[k], FG_SPAN("x"));
            struct fg_cache_draft head = object->head;
            head.tags = fg_span_from_string(tags);
            struct fg_cache_object *tagged = fg_cache_object_create(&head);
            fg_cache_body_acquire(object->body);
            fg_cache_object_set_body(tagged, object->body);
            fg_cache_object_release(object);
            assert_true(store_object(&f, tagged));
        }
        assert_int_equal(
            fg_cache_store_purge(f.store, cases[i].kind, fg_span_from_string(cases[i].what)),
            cases[i].gone);
        fg_cache_store_purge(f.store, FG_CACHE_PURGE_ALL, (struct fg_span){NULL, 0});
    }
    close_fixture(&f);
}

/* More than are looked at in one go, with none of them missed or taken with them. */
static void purges_and_lists_many(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    static struct fg_cache_object *listed[COUNT];
    struct fixture f;
    char key[40];
    open_fixture(&f);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "shost\n/%s/%u", i % 2 == 0 ? "even" : "odd", i);
        assert_true(store_object(&f, object_of(key, FG_SPAN("x"))));
    }
    assert_int_equal(fg_cache_store_list(f.store, FG_SPAN("/odd/"), listed, 5), 5);
    for (unsigned i = 0; i < 5; i++)
        fg_cache_object_release(listed[i]);
    assert_int_equal(fg_cache_store_purge(f.store, FG_CACHE_PURGE_PREFIX, FG_SPAN("/even/")),
                     COUNT / 2);
    assert_int_equal(fg_cache_store_list(f.store, FG_SPAN("/even/"), listed, COUNT), 0);
    assert_int_equal(fg_cache_store_list(f.store, FG_SPAN("/"), listed, COUNT), COUNT / 2);
    for (unsigned i = 0; i < COUNT / 2; i++)
        fg_cache_object_release(listed[i]);
    assert_int_equal(fg_cache_store_purge(f.store, FG_CACHE_PURGE_ALL, (struct fg_span){NULL, 0}),
                     COUNT / 2);
    close_fixture(&f);
}

static void what_is_on_its_way_is_purged_too(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct fg_cache_ask what = ask_for(&f, "sh\n/a");
    static const enum fg_cache_purge_kind kinds[] = {FG_CACHE_PURGE_PATH, FG_CACHE_PURGE_TAG};
    for (unsigned i = 0; i < 3; i++) {
        struct fg_cache_stream *old = NULL, *fresh = NULL;
        assert_int_equal(fg_cache_store_lead_or_join(f.store, &what, 0, f.loop, false, NULL, &old),
                         FG_CACHE_LEAD);
        if (i < 2)
            fg_cache_store_purge(f.store, kinds[i], FG_SPAN("/a"));
        else
            fg_cache_store_invalidate(f.store, what.key);
        /* who comes now must not read along with an answer from before */
        assert_int_equal(
            fg_cache_store_lead_or_join(f.store, &what, 0, f.loop, false, NULL, &fresh),
            FG_CACHE_LEAD);
        struct fg_cache_object *object = object_of("sh\n/a", FG_SPAN("old"));
        assert_false(fg_cache_store_publish(f.store, old, object));
        fg_cache_object_release(object);
        assert_false(is_stored(&f, &what));
        object = object_of("sh\n/a", FG_SPAN("new"));
        assert_true(fg_cache_store_publish(f.store, fresh, object));
        fg_cache_store_remove(f.store, object);
        fg_cache_store_remove(f.store, object); /* harmless twice */
        fg_cache_object_release(object);
        assert_false(is_stored(&f, &what));
        fg_cache_stream_drop_writer(old);
        fg_cache_stream_drop_writer(fresh);
    }
    close_fixture(&f);
}

/* Nobody joins such a fetch: one that each request makes for itself, or one whose answer has come
 * and is to be asked about each time. */
static void what_is_fetched_alone_is_purged_too(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct fg_cache_ask what = ask_for(&f, "sh\n/a");
    for (unsigned i = 0; i < 4; i++) {
        struct fg_cache_stream *stream = NULL, *next = NULL;
        bool is_solo = i % 2 == 0, is_purged = i < 2;
        assert_int_equal(
            fg_cache_store_lead_or_join(f.store, &what, 0, f.loop, is_solo, NULL, &stream),
            FG_CACHE_LEAD);
        if (!is_solo)
            fg_cache_store_part(f.store, stream);
        assert_int_equal(fg_cache_store_lead_or_join(f.store, &what, 0, f.loop, false, NULL, &next),
                         FG_CACHE_LEAD);
        fg_cache_store_close(f.store, next);
        fg_cache_stream_drop_writer(next);
        assert_int_equal(fg_cache_store_stats(f.store).fetches, 1);
        if (is_purged)
            fg_cache_store_invalidate(f.store, what.key);
        struct fg_cache_object *object = object_of("sh\n/a", FG_SPAN("old"));
        assert_int_equal(fg_cache_store_publish(f.store, stream, object), !is_purged);
        fg_cache_object_release(object);
        assert_int_equal(is_stored(&f, &what), !is_purged);
        assert_int_equal(fg_cache_store_stats(f.store).fetches, 0);
        fg_cache_stream_drop_writer(stream);
    }
    close_fixture(&f);
}

static void counts_what_is_being_fetched(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct fg_cache_stream *stream = fg_cache_stream_create(f.loop, FG_SPAN("k"), 1, 8);
    assert_true(fg_cache_store_reserve(f.store, stream, conf.bytes_max / 8));
    assert_true(fg_cache_store_reserve(f.store, stream, conf.bytes_max / 8));
    assert_false(fg_cache_store_reserve(f.store, stream, 1));
    fg_cache_stream_stop_keeping(stream);
    assert_int_equal(fg_cache_store_stats(f.store).held_bytes, 0);
    assert_true(fg_cache_store_reserve(f.store, stream, 1));
    fg_cache_stream_drop_writer(stream);
    assert_int_equal(fg_cache_store_stats(f.store).held_bytes, 0);
    close_fixture(&f);
}

static void counts_what_is_lent_after_it_left(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct fg_cache_ask what = ask_for(&f, "sh\n/a");
    assert_true(store_object(&f, object_of("sh\n/a", FG_SPAN("hello"))));
    struct fg_cache_object *held = fg_cache_store_get(f.store, &what, NULL);
    assert_int_equal(fg_cache_store_stats(f.store).held_bytes, 0);
    fg_cache_store_purge(f.store, FG_CACHE_PURGE_ALL, (struct fg_span){NULL, 0});
    assert_int_equal(fg_cache_store_stats(f.store).held_bytes, 5);
    /* a 304 brings the same body back */
    struct fg_cache_object *fresh = fg_cache_object_create(&held->head);
    fg_cache_body_acquire(held->body);
    fg_cache_object_set_body(fresh, held->body);
    assert_true(store_object(&f, fresh));
    assert_int_equal(fg_cache_store_stats(f.store).held_bytes, 0);
    fg_cache_store_invalidate(f.store, what.key);
    assert_int_equal(fg_cache_store_stats(f.store).held_bytes, 5);
    fg_cache_object_release(held);
    assert_int_equal(fg_cache_store_stats(f.store).held_bytes, 0);
    close_fixture(&f);
}

static void makes_each_coding_once(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct fg_helper_pool *helper = fg_helper_pool_create(1, 16);
    static char text[50000], back[50000];
    memset(text, 'x', sizeof(text));
    struct fg_cache_object *object = object_of("k", fg_span_make(text, sizeof(text)));
    struct fg_mailbox *box = fg_loop_mailbox(f.loop);
    unsigned made = 0;
    for (unsigned i = FG_CODING_IDENTITY + 1; i < FG_CODING_COUNT; i++) {
        if ((fg_cache_codings() & 1u << i) == 0)
            continue;
        made++;
        fg_cache_compress(f.store, helper, box, object->body, (enum fg_coding)i);
        fg_cache_compress(f.store, helper, box, object->body, (enum fg_coding)i);
    }
    fg_helper_pool_destroy(helper);
    fg_mailbox_drain(box);
    assert_int_equal(fg_cache_store_stats(f.store).events[FG_CACHE_EVENT_VARIANT], made);
    struct fg_span gzip = fg_cache_body_span(fg_cache_body_variant(object->body, FG_CODING_GZIP));
    assert_true(gzip.len < 1000);
    z_stream stream = {0};
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    stream.next_in = (unsigned char *)(uintptr_t)gzip.data;
    stream.avail_in = (uInt)gzip.len;
    stream.next_out = (unsigned char *)back;
    stream.avail_out = sizeof(back);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    inflateEnd(&stream);
    assert_memory_equal(back, text, sizeof(text));
    fg_cache_object_release(object);
    close_fixture(&f);
}

/* ---- many threads ---- */

#define THREADS 4
#define ROUNDS 400

static struct fg_cache_store *shared_store;
static struct fg_counter fetches;

/* Outlives its thread: news may be on their way to a reader that the thread let go. */
struct user {
    pthread_t thread;
    unsigned seed;
    struct fg_loop *loop;
    struct fg_cache_readers readers;
};

static void lead_it(struct user *user, struct fg_cache_stream *stream, const char *key,
                    struct fg_span body)
{
    struct fg_cache_object *object = object_of(key, body);
    fg_counter_add(&fetches, 1);
    if ((user->seed >> 25 & 7) == 0) {
        fg_cache_store_close(shared_store, stream);
        fg_cache_stream_fail(stream, &(struct fg_cache_failure){.status = 502});
        fg_cache_object_release(object);
    } else {
        fg_cache_object_acquire(object); /* for the stream */
        fg_cache_store_publish(shared_store, stream, object);
        fg_cache_stream_set_head(stream, FG_CACHE_OUTCOME_SHARED, object, (int64_t)body.len, true,
                                 &no_hops);
        fg_cache_stream_end(stream);
        fg_cache_object_release(object);
    }
    fg_cache_stream_drop_writer(stream);
}

static void wait_for_news(struct user *user, struct fg_cache_reader *reader, const unsigned *news)
{
    struct fg_mailbox *box = fg_loop_mailbox(user->loop);
    while (*news == 0 && fg_cache_reader_news(reader).outcome == FG_CACHE_OUTCOME_PENDING) {
        struct pollfd fd = {.fd = box->event_fd, .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 60000), 1);
        fg_mailbox_drain(box);
    }
}

static void *use_store(void *arg)
{
    struct user *user = arg;
    const struct fg_exchange ex = {0};
    for (unsigned i = 0; i < ROUNDS; i++) {
        char key[16];
        unsigned news = 0;
        struct fg_cache_stream *stream = NULL;
        user->seed = user->seed * 1103515245u + 12345u;
        int len = snprintf(key, sizeof(key), "h\n/%u", user->seed >> 16 & 3);
        struct fg_cache_ask what = {.ex = &ex, .key = fg_span_make(key, (size_t)len)};
        struct fg_cache_object *object = fg_cache_store_get(shared_store, &what, NULL);
        if (object != NULL) {
            assert_true(fg_span_equal(fg_cache_body_span(object->body), what.key));
            fg_cache_object_release(object);
            if ((user->seed >> 24 & 15) == 0)
                fg_cache_store_purge(shared_store, FG_CACHE_PURGE_ALL, (struct fg_span){NULL, 0});
            continue;
        }
        struct fg_cache_reader *reader =
            fg_cache_reader_create(&user->readers, user->loop, on_news, &news);
        enum fg_cache_role role =
            fg_cache_store_lead_or_join(shared_store, &what, 0, user->loop, false, reader, &stream);
        if (role == FG_CACHE_LEAD)
            lead_it(user, stream, key, what.key);
        else if (role == FG_CACHE_JOINED && (user->seed >> 26 & 3) != 0)
            wait_for_news(user, reader, &news);
        fg_cache_reader_leave(reader);
    }
    return NULL;
}

static void threads_share_it(void **state)
{
    (void)state;
    static struct user users[THREADS];
    shared_store = fg_cache_store_create(&conf);
    for (unsigned i = 0; i < THREADS; i++) {
        users[i].seed = i * 7919 + 3;
        users[i].loop = fg_loop_create(i, 64);
        assert_int_equal(pthread_create(&users[i].thread, NULL, use_store, &users[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(users[i].thread, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        fg_mailbox_drain(fg_loop_mailbox(users[i].loop));
        fg_cache_readers_fini(&users[i].readers);
        fg_loop_destroy(users[i].loop);
    }
    assert_true(fg_counter_get(&fetches) > 0);
    fg_cache_store_destroy(shared_store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_leads_and_the_others_join),
        cmocka_unit_test(keeps_to_its_bytes),
        cmocka_unit_test(a_pinned_object_stays),
        cmocka_unit_test(variants_stand_side_by_side),
        cmocka_unit_test(collisions_cannot_be_prepared),
        cmocka_unit_test(purges_by_path_prefix_and_tag),
        cmocka_unit_test(purges_and_lists_many),
        cmocka_unit_test(what_is_on_its_way_is_purged_too),
        cmocka_unit_test(what_is_fetched_alone_is_purged_too),
        cmocka_unit_test(counts_what_is_being_fetched),
        cmocka_unit_test(counts_what_is_lent_after_it_left),
        cmocka_unit_test(makes_each_coding_once),
        cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
