/*
 * test_pinned_pages_shared.c: what one store pins is in the next one, as it was; what has been lost
 * is not; and nothing comes out of memory that holds something else.
 */
#include "base/clock.h"
#include "pipeline/pinned_pages_shared.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <unistd.h>

#define LATER (UINT64_MAX / 2) /* no write is too soon then */
#define BODY_BYTES ((size_t)100000)

static struct fg_route_conf routes[3] = {
    {.name = "plain", .cache = true},
    {.name = "pages", .cache = true, .cache_keep = FG_CACHE_KEEP_PINNED},
    {.name = "other", .cache = true, .cache_keep = FG_CACHE_KEEP_PINNED},
};
static const struct fg_config config = {
    .cache = {.bytes_max = 8 << 20,
              .object_bytes_max = 256 << 10,
              .waiters_max = 2,
              .unshared_at_once = 8},
    .routes = routes,
    .route_count = 3,
};

/* A gateway process: a store, and memory that it writes. */
struct process {
    struct fg_cache_store *store;
    struct fg_loop *loop;
    struct fg_page_memory memory;
    struct fg_pinned_pages *pages;
    struct fg_exchange ex;
    struct fg_field fields[1];
};

static void start(struct process *p, const struct process *before)
{
    *p = (struct process){.memory = {memfd_create("pages", 0), -1}};
    if (before != NULL)
        p->memory.before_fd = before->memory.fd;
    p->loop = fg_loop_create(0, 64);
    p->store = fg_cache_store_create(&config.cache);
    p->ex.fields = p->fields;
    p->pages = fg_pinned_pages_create(p->store, &config, &p->memory);
    assert_non_null(p->pages);
}

static void stop(struct process *p)
{
    fg_pinned_pages_destroy(p->pages);
    fg_cache_store_destroy(p->store);
    fg_loop_destroy(p->loop);
    close(p->memory.fd);
}

static struct fg_cache_ask ask_for(const struct process *p, const char *key, uint32_t route_index)
{
    return (struct fg_cache_ask){
        .ex = &p->ex, .key = fg_span_from_string(key), .route_index = route_index};
}

static void put(struct process *p, const char *key, uint32_t route_index, char filling,
                const char *selects)
{
    static const struct fg_field fields[] = {
        {FG_SPAN_LITERAL("content-type"), FG_SPAN_LITERAL("text/html")},
        {FG_SPAN_LITERAL("x-empty"), FG_SPAN_LITERAL("")},
        {FG_SPAN_LITERAL("etag"), FG_SPAN_LITERAL("\"v1\"")},
    };
    struct fg_cache_draft draft = {
        .key = fg_span_from_string(key),
        .route_index = route_index,
        .vary = fg_span_from_string(selects[0] == '\0' ? "" : "x-kind"),
        .selects = fg_span_from_string(selects),
        .tags = FG_SPAN("sale page"),
        .status = 200,
        .fields = fields,
        .field_count = 3,
        .response = {.has_etag = true},
        .lifetime_s = 60,
        .stored_ns = fg_clock_monotonic_ns(),
        .is_pinned = routes[route_index].cache_keep == FG_CACHE_KEEP_PINNED,
    };
    struct fg_cache_object *object = fg_cache_object_create(&draft);
    struct fg_cache_body *body = fg_cache_body_create(BODY_BYTES);
    memset(fg_cache_body_room(body), filling, BODY_BYTES);
    fg_cache_object_set_body(object, body);
    struct fg_cache_ask what = ask_for(p, key, route_index);
    struct fg_cache_stream *stream = NULL;
    assert_int_equal(fg_cache_store_lead_or_join(p->store, &what, 0, p->loop, true, NULL, &stream),
                     FG_CACHE_LEAD);
    assert_true(fg_cache_store_publish(p->store, stream, object));
    fg_cache_object_release(object);
    fg_cache_stream_drop_writer(stream);
}

/* What is stored there: the filling, or 0. */
static char filling_of(struct process *p, const char *key, uint32_t route_index)
{
    struct fg_cache_ask what = ask_for(p, key, route_index);
    struct fg_cache_object *object = fg_cache_store_get(p->store, &what, NULL);
    if (object == NULL)
        return '\0';
    struct fg_span body = fg_cache_body_span(object->body);
    assert_int_equal(body.len, BODY_BYTES);
    assert_int_equal(body.data[0], body.data[BODY_BYTES - 1]);
    assert_int_equal(object->head.field_count, 3);
    assert_true(fg_span_equal(object->etag, FG_SPAN("\"v1\"")));
    assert_true(fg_span_equal(object->head.fields[1].name, FG_SPAN("x-empty")));
    assert_true(fg_span_equal(object->head.tags, FG_SPAN("sale page")));
    assert_int_equal(object->head.lifetime_s, 60);
    char filling = body.data[0];
    fg_cache_object_release(object);
    return filling;
}

static void what_is_pinned_is_there_in_the_next_process(void **state)
{
    (void)state;
    struct process first, second, third;
    start(&first, NULL);
    put(&first, "shost\n/a", 1, 'a', "");
    put(&first, "shost\n/b", 2, 'b', "");
    put(&first, "shost\n/c", 0, 'c', ""); /* its route does not pin */
    first.fields[0] = (struct fg_field){FG_SPAN("x-kind"), FG_SPAN("k")};
    first.ex.field_count = 1;
    put(&first, "shost\n/d", 1, 'd', "x-kind:k\n");
    fg_pinned_pages_keep(first.pages, LATER);
    routes[1].name = "other"; /* routes stand elsewhere in the next configuration */
    routes[2].name = "pages";
    start(&second, &first);
    assert_int_equal(fg_pinned_pages_restored(second.pages), 3);
    assert_int_equal(filling_of(&second, "shost\n/a", 2), 'a');
    assert_int_equal(filling_of(&second, "shost\n/b", 1), 'b');
    assert_int_equal(filling_of(&second, "shost\n/c", 0), '\0');
    assert_int_equal(filling_of(&second, "shost\n/d", 2), '\0'); /* another kind */
    second.fields[0] = first.fields[0];
    second.ex.field_count = 1;
    assert_int_equal(filling_of(&second, "shost\n/d", 2), 'd');
    assert_int_equal(fg_cache_store_stats(second.store).pinned_objects, 3);
    start(&third, &second); /* it has written them again at once */
    assert_int_equal(filling_of(&third, "shost\n/a", 2), 'a');
    routes[1].name = "pages";
    routes[2].name = "other";
    stop(&third);
    stop(&second);
    stop(&first);
}

static void the_newest_is_kept_and_what_is_lost_is_not(void **state)
{
    (void)state;
    struct process first, second;
    start(&first, NULL);
    put(&first, "shost\n/a", 1, 'x', "");
    fg_pinned_pages_keep(first.pages, LATER);
    put(&first, "shost\n/a", 1, 'a', "");
    put(&first, "shost\n/b", 1, 'b', "");
    fg_pinned_pages_keep(first.pages, UINT64_MAX);
    fg_cache_store_purge(first.store, FG_CACHE_PURGE_PATH, FG_SPAN("/b"));
    start(&second, &first); /* before the first has written again: rather nothing than /b */
    assert_int_equal(fg_pinned_pages_restored(second.pages), 0);
    stop(&second);
    fg_pinned_pages_keep(first.pages, UINT64_MAX);
    start(&second, &first);
    assert_int_equal(filling_of(&second, "shost\n/a", 1), 'a');
    assert_int_equal(filling_of(&second, "shost\n/b", 1), '\0');
    stop(&second);
    stop(&first);
}

static void what_was_purged_with_all_others_must_be_asked_for(void **state)
{
    (void)state;
    struct process first, second;
    start(&first, NULL);
    put(&first, "shost\n/a", 1, 'a', "");
    put(&first, "shost\n/c", 0, 'c', "");
    struct fg_cache_ask what = ask_for(&first, "shost\n/a", 1);
    struct fg_cache_object *object = fg_cache_store_get(first.store, &what, NULL);
    assert_false(fg_cache_store_must_ask(first.store, object));
    assert_int_equal(fg_cache_store_purge(first.store, FG_CACHE_PURGE_ALL, FG_SPAN("")), 1);
    assert_true(fg_cache_store_must_ask(first.store, object));
    fg_cache_object_release(object);
    assert_int_equal(filling_of(&first, "shost\n/c", 0), '\0');
    fg_pinned_pages_keep(first.pages, LATER);
    start(&second, &first);
    object = fg_cache_store_get(second.store, &what, NULL);
    assert_true(fg_cache_store_must_ask(second.store, object));
    fg_cache_object_release(object);
    put(&second, "shost\n/a", 1, 'b', "");
    object = fg_cache_store_get(second.store, &what, NULL);
    assert_false(fg_cache_store_must_ask(second.store, object));
    fg_cache_object_release(object);
    stop(&second);
    stop(&first);
}

static void what_is_no_page_is_left_alone(void **state)
{
    (void)state;
    struct process first, second;
    start(&first, NULL);
    put(&first, "shost\n/a", 1, 'a', "");
    put(&first, "shost\n/b", 1, 'b', "");
    fg_pinned_pages_keep(first.pages, LATER);
    assert_int_equal(ftruncate(first.memory.fd, 4096 + 1000), 0); /* its end is gone */
    start(&second, &first);
    assert_int_equal(fg_pinned_pages_restored(second.pages), 0);
    stop(&second);
    assert_int_equal(pwrite(first.memory.fd, "nonsense", 8, 0), 8);
    start(&second, &first);
    assert_int_equal(fg_pinned_pages_restored(second.pages), 0);
    stop(&second);
    stop(&first);
}

/* One writes, one loses pages all the time: what is valid never has a lost one. */
static struct process racing;

static void *lose(void *arg)
{
    for (int i = 0; i < 200; i++) {
        put(&racing, "shost\n/gone", 1, 'g', "");
        fg_cache_store_purge(racing.store, FG_CACHE_PURGE_PATH, FG_SPAN("/gone"));
    }
    return arg;
}

static void what_is_lost_while_it_is_written_is_not_kept(void **state)
{
    (void)state;
    struct process next;
    pthread_t thread;
    start(&racing, NULL);
    put(&racing, "shost\n/stays", 1, 's', "");
    assert_int_equal(pthread_create(&thread, NULL, lose, NULL), 0);
    for (int i = 0; i < 200; i++)
        fg_pinned_pages_keep(racing.pages, UINT64_MAX);
    pthread_join(thread, NULL);
    fg_pinned_pages_keep(racing.pages, UINT64_MAX);
    start(&next, &racing);
    assert_int_equal(filling_of(&next, "shost\n/stays", 1), 's');
    assert_int_equal(filling_of(&next, "shost\n/gone", 1), '\0');
    stop(&next);
    stop(&racing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_pinned_is_there_in_the_next_process),
        cmocka_unit_test(the_newest_is_kept_and_what_is_lost_is_not),
        cmocka_unit_test(what_was_purged_with_all_others_must_be_asked_for),
        cmocka_unit_test(what_is_no_page_is_left_alone),
        cmocka_unit_test(what_is_lost_while_it_is_written_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
