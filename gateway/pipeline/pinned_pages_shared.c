/*
 * pinned_pages_shared.c: see pinned_pages_shared.h.
 *
 *    page: struct page (lengths), route, key, vary, selects, tags, {name, value} each field, body
 */
#include "pinned_pages_shared.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x66672d7061676531)
#define AREAS_AT ((uint64_t)4096)
#define READS_MAX 8u
#define COSTLY 50u /* times what a write took, nothing more is written */
#define TEXTS 5u

/* Only ever read by a process of the same program: the supervisor forks them all. */
struct head {
    uint64_t magic;
    uint64_t page_bytes; /* sizeof(struct page) */
    uint64_t sequence;   /* of changes to the head */
    uint64_t area;       /* 1 or 2; 0: nothing is valid */
    uint64_t at;
    uint64_t bytes;
    uint64_t count;
};

struct page {
    struct fg_cache_draft draft; /* of its spans the lengths alone */
    uint64_t text_bytes[TEXTS];  /* route, key, vary, selects, tags */
    uint64_t body_bytes;
};

struct field_bytes {
    uint64_t name;
    uint64_t value;
};

struct fg_pinned_pages {
    struct fg_cache_store *store;
    const struct fg_config *config;
    int fd;
    uint64_t area_bytes;
    uint64_t due_ns;
    size_t restored;
    bool has_failed;      /* and been told */
    uint64_t written;     /* changes of the store that are in the valid area */
    pthread_mutex_t lock; /* guards the rest, and the head in the file */
    struct head head;
};

/* ---- bytes ---- */

static bool write_all(int fd, const void *data, size_t len, uint64_t *at)
{
    const char *from = data;
    while (len > 0) {
        ssize_t written = pwrite(fd, from, len, (off_t)*at);
        if (written == -1 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        from += written;
        len -= (size_t)written;
        *at += (uint64_t)written;
    }
    return true;
}

static bool read_all(int fd, void *data, size_t len, uint64_t at)
{
    char *to = data;
    while (len > 0) {
        ssize_t got = pread(fd, to, len, (off_t)at);
        if (got == -1 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to += got;
        len -= (size_t)got;
        at += (uint64_t)got;
    }
    return true;
}

/* Takes `len` bytes off the front; data is NULL when there are fewer. */
static struct fg_span take(struct fg_span *rest, uint64_t len)
{
    struct fg_span taken = {NULL, 0};
    if (len > rest->len)
        return taken;
    taken = fg_span_make(rest->data, (size_t)len);
    *rest = fg_span_make(rest->data + len, rest->len - (size_t)len);
    return taken;
}

/* ---- writing ---- */

static bool write_page(struct fg_pinned_pages *pages, const struct fg_cache_object *object,
                       uint64_t *at, uint64_t end)
{
    const struct fg_cache_draft *draft = &object->head;
    const struct fg_span texts[TEXTS] = {
        fg_span_from_string(pages->config->routes[draft->route_index].name), draft->key,
        draft->vary, draft->selects, draft->tags};
    struct fg_span body = fg_cache_body_span(object->body);
    struct page page = {.draft = *draft, .body_bytes = body.len};
    page.draft.must_ask |= fg_cache_store_must_ask(pages->store, object);
    if (fg_cache_object_bytes(object) + sizeof(page) + *at > end)
        return false;
    for (size_t i = 0; i < TEXTS; i++)
        page.text_bytes[i] = texts[i].len;
    bool is_fine = write_all(pages->fd, &page, sizeof(page), at);
    for (size_t i = 0; i < TEXTS && is_fine; i++)
        is_fine = write_all(pages->fd, texts[i].data, texts[i].len, at);
    for (size_t i = 0; i < draft->field_count && is_fine; i++) {
        const struct fg_field *field = &draft->fields[i];
        const struct field_bytes bytes = {field->name.len, field->value.len};
        is_fine = write_all(pages->fd, &bytes, sizeof(bytes), at) &&
                  write_all(pages->fd, field->name.data, field->name.len, at) &&
                  write_all(pages->fd, field->value.data, field->value.len, at);
    }
    return is_fine && write_all(pages->fd, body.data, body.len, at);
}

/* With the lock held. */
static bool write_head(struct fg_pinned_pages *pages)
{
    uint64_t at = 0;
    pages->head.sequence++;
    return write_all(pages->fd, &pages->head, sizeof(pages->head), &at);
}

static void free_area(const struct fg_pinned_pages *pages, uint64_t area)
{
    if (area != 0)
        (void)fallocate(pages->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        (off_t)(AREAS_AT + (area - 1) * pages->area_bytes),
                        (off_t)pages->area_bytes);
}

/* The area counts from now on, unless one of its pages has been lost meanwhile. */
static bool make_valid(struct fg_pinned_pages *pages, const struct head *head, uint64_t losses)
{
    pthread_mutex_lock(&pages->lock);
    uint64_t other = 3 - head->area;
    bool is_fine = fg_cache_store_pins(pages->store).losses == losses;
    if (is_fine) {
        uint64_t sequence = pages->head.sequence;
        pages->head = *head;
        pages->head.sequence = sequence;
        is_fine = write_head(pages);
    }
    pthread_mutex_unlock(&pages->lock);
    if (is_fine)
        free_area(pages, other);
    return is_fine;
}

static bool write_pages(struct fg_pinned_pages *pages, struct fg_cache_object *const *objects,
                        size_t count, uint64_t losses)
{
    pthread_mutex_lock(&pages->lock);
    uint64_t area = pages->head.area == 1 ? 2 : 1; /* others only ever set it to 0 */
    pthread_mutex_unlock(&pages->lock);
    struct head head = {.magic = MAGIC,
                        .page_bytes = sizeof(struct page),
                        .area = area,
                        .at = AREAS_AT + (area - 1) * pages->area_bytes,
                        .count = count};
    uint64_t at = head.at;
    for (size_t i = 0; i < count; i++) {
        if (!write_page(pages, objects[i], &at, head.at + pages->area_bytes))
            return false;
    }
    head.bytes = at - head.at;
    return make_valid(pages, &head, losses);
}

static void tell_failure(struct fg_pinned_pages *pages)
{
    if (!pages->has_failed)
        fg_log(FG_LOG_WARN, "pinned_pages_not_kept", "reason=\"no memory to keep them in\"");
    pages->has_failed = true;
}

void fg_pinned_pages_keep(struct fg_pinned_pages *pages, uint64_t now_ns)
{
    struct fg_cache_store_pins pins = fg_cache_store_pins(pages->store);
    if (pins.changes == pages->written || now_ns < pages->due_ns)
        return;
    size_t room = pins.count + 16;
    struct fg_cache_object **objects = calloc(room, sizeof(struct fg_cache_object *));
    if (objects == NULL) {
        tell_failure(pages);
        return;
    }
    uint64_t began_ns = fg_clock_monotonic_ns();
    size_t count = fg_cache_store_list_pinned(pages->store, objects, room);
    if (write_pages(pages, objects, count, pins.losses))
        pages->written = count < room ? pins.changes : pages->written; /* more have come */
    else if (fg_cache_store_pins(pages->store).losses == pins.losses)
        tell_failure(pages);
    for (size_t i = 0; i < count; i++)
        fg_cache_object_release(objects[i]);
    free(objects);
    pages->due_ns = now_ns + COSTLY * (fg_clock_monotonic_ns() - began_ns);
}

/* A pinned object must not be given any more, or not without asking. */
static void on_lost(void *arg)
{
    struct fg_pinned_pages *pages = arg;
    pthread_mutex_lock(&pages->lock);
    pages->head.area = 0;
    (void)write_head(pages);
    pthread_mutex_unlock(&pages->lock);
}

/* ---- reading ---- */

static bool find_route(const struct fg_config *config, struct fg_span name, uint32_t *index)
{
    for (size_t i = 0; i < config->route_count; i++) {
        const struct fg_route_conf *route = &config->routes[i];
        *index = (uint32_t)i;
        if (route->cache && route->cache_keep == FG_CACHE_KEEP_PINNED &&
            fg_span_equal(fg_span_from_string(route->name), name))
            return true;
    }
    return false;
}

static struct fg_cache_object *make_object(const struct fg_cache_draft *draft, struct fg_span bytes)
{
    struct fg_cache_body *body = fg_cache_body_create(bytes.len);
    struct fg_cache_object *object = body == NULL ? NULL : fg_cache_object_create(draft);
    if (object == NULL) {
        fg_cache_body_release(body);
        return NULL;
    }
    if (bytes.len > 0)
        memcpy(fg_cache_body_room(body), bytes.data, bytes.len);
    fg_cache_object_set_body(object, body);
    return object;
}

/* False: what is there is no page. */
static bool take_fields(struct fg_field *fields, size_t count, struct fg_span *rest)
{
    for (size_t i = 0; i < count; i++) {
        struct field_bytes bytes;
        struct fg_span taken = take(rest, sizeof(bytes));
        if (taken.data == NULL)
            return false;
        memcpy(&bytes, taken.data, sizeof(bytes));
        fields[i].name = take(rest, bytes.name);
        fields[i].value = take(rest, bytes.value);
        if (fields[i].name.data == NULL || fields[i].value.data == NULL)
            return false;
    }
    return true;
}

static bool take_page(struct fg_pinned_pages *pages, struct fg_span *rest)
{
    struct page page;
    struct fg_span texts[TEXTS];
    struct fg_span taken = take(rest, sizeof(page));
    if (taken.data == NULL)
        return false;
    memcpy(&page, taken.data, sizeof(page));
    for (size_t i = 0; i < TEXTS; i++) {
        texts[i] = take(rest, page.text_bytes[i]);
        if (texts[i].data == NULL)
            return false;
    }
    struct fg_cache_draft *draft = &page.draft;
    if (draft->field_count > rest->len / sizeof(struct field_bytes))
        return false;
    struct fg_field *fields = calloc(draft->field_count + 1, sizeof(*fields));
    struct fg_span body = {NULL, 0};
    bool is_page = fields != NULL && take_fields(fields, draft->field_count, rest);
    if (is_page)
        body = take(rest, page.body_bytes);
    is_page = is_page && body.data != NULL;
    draft->key = texts[1];
    draft->vary = texts[2];
    draft->selects = texts[3];
    draft->tags = texts[4].len > 0 ? texts[4] : (struct fg_span){NULL, 0};
    draft->fields = fields;
    if (is_page && find_route(pages->config, texts[0], &draft->route_index)) {
        struct fg_cache_object *object = make_object(draft, body);
        pages->restored += object != NULL && fg_cache_store_restore(pages->store, object);
        fg_cache_object_release(object);
    }
    free(fields);
    return is_page;
}

static bool read_head(int fd, struct head *head)
{
    return read_all(fd, head, sizeof(*head), 0) && head->magic == MAGIC &&
           head->page_bytes == sizeof(struct page);
}

/* All bytes of the valid area, the caller's; NULL: there are none. */
static char *read_area(int fd, struct head *head)
{
    for (unsigned i = 0; i < READS_MAX; i++) {
        struct head after;
        if (!read_head(fd, head) || head->area == 0)
            return NULL;
        char *bytes = malloc((size_t)head->bytes + 1);
        if (bytes == NULL)
            return NULL;
        bool is_read = read_all(fd, bytes, (size_t)head->bytes, head->at);
        if (is_read && read_head(fd, &after) && after.sequence == head->sequence)
            return bytes;
        free(bytes);
    }
    return NULL;
}

static void restore(struct fg_pinned_pages *pages, int fd)
{
    struct head head;
    char *bytes = fd == -1 ? NULL : read_area(fd, &head);
    if (bytes == NULL)
        return;
    struct fg_span rest = {bytes, (size_t)head.bytes};
    for (uint64_t i = 0; i < head.count; i++) {
        if (!take_page(pages, &rest))
            break;
    }
    free(bytes);
    fg_log(FG_LOG_INFO, "pinned_pages_restored", "count=%zu", pages->restored);
}

/* ---- life ---- */

struct fg_pinned_pages *fg_pinned_pages_create(struct fg_cache_store *store,
                                               const struct fg_config *config,
                                               const struct fg_page_memory *memory)
{
    struct fg_pinned_pages *pages = calloc(1, sizeof(*pages));
    if (pages == NULL)
        return NULL;
    *pages = (struct fg_pinned_pages){.store = store,
                                      .config = config,
                                      .fd = memory->fd,
                                      .area_bytes = (config->cache.bytes_max + 2 * AREAS_AT) /
                                                    AREAS_AT * AREAS_AT,
                                      .head = {.magic = MAGIC, .page_bytes = sizeof(struct page)}};
    pthread_mutex_init(&pages->lock, NULL);
    restore(pages, memory->before_fd);
    fg_cache_store_on_pins_lost(store, on_lost, pages);
    fg_pinned_pages_keep(pages, fg_clock_monotonic_ns());
    return pages;
}

void fg_pinned_pages_destroy(struct fg_pinned_pages *pages)
{
    if (pages == NULL)
        return;
    fg_cache_store_on_pins_lost(pages->store, NULL, NULL);
    pthread_mutex_destroy(&pages->lock);
    free(pages);
}

size_t fg_pinned_pages_kept(struct fg_pinned_pages *pages)
{
    if (pages == NULL)
        return 0;
    pthread_mutex_lock(&pages->lock);
    size_t count = pages->head.area == 0 ? 0 : (size_t)pages->head.count;
    pthread_mutex_unlock(&pages->lock);
    return count;
}

size_t fg_pinned_pages_restored(const struct fg_pinned_pages *pages)
{
    return pages->restored;
}
