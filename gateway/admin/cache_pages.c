/*
 * cache_pages.c: GET /cache/objects and POST /cache/purge.
 */
#include "cache_pages.h"

#include "admin/admin_query.h"
#include "base/clock.h"
#include "pipeline/cache_key.h"
#include "pipeline/pipeline.h"

#include <stdlib.h>

#define OBJECTS_MAX ((size_t)200)

/* What an origin says in a field may be no UTF-8, which JSON has no form for: then '?' is shown for
 * each byte that is not ASCII. */
static json_t *text_json(struct fg_span text)
{
    json_t *json = json_stringn(text.data == NULL ? "" : text.data, text.len);
    char *ascii = json == NULL ? malloc(text.len) : NULL;
    if (ascii == NULL)
        return json;
    for (size_t i = 0; i < text.len; i++)
        ascii[i] = (unsigned char)text.data[i] < 0x80 ? text.data[i] : '?';
    json = json_stringn(ascii, text.len);
    free(ascii);
    return json;
}

static json_t *codings_json(const struct fg_cache_object *object)
{
    json_t *codings = json_array();
    for (unsigned i = FG_CODING_IDENTITY + 1; i < FG_CODING_COUNT; i++) {
        if (fg_cache_body_variant(object->body, (enum fg_coding)i) != NULL)
            json_array_append_new(codings, json_string(fg_coding_name((enum fg_coding)i)));
    }
    return codings;
}

static json_t *object_json(const struct fg_admin_options *options,
                           const struct fg_cache_object *object, uint64_t now_ns)
{
    const struct fg_cache_draft *head = &object->head;
    uint64_t age_ns = fg_cache_current_age_ns(head->initial_age_ns, head->stored_ns, now_ns);
    struct fg_span rest = head->key;
    struct fg_span host = fg_span_split(&rest, '\n');
    bool is_https = host.len > 0 && host.data[0] == 's';
    if (host.len > 0)
        host = fg_span_make(host.data + 1, host.len - 1);
    json_t *json = json_object();
    json_object_set_new(json, "scheme", json_string(is_https ? "https" : "http"));
    json_object_set_new(json, "host", text_json(host));
    json_object_set_new(json, "path", text_json(rest));
    json_object_set_new(json, "route",
                        json_string(options->config->routes[head->route_index].name));
    json_object_set_new(json, "status", json_integer(head->status));
    json_object_set_new(json, "bytes",
                        json_integer((json_int_t)fg_cache_body_span(object->body).len));
    json_object_set_new(json, "age_s", json_integer((json_int_t)(age_ns / FG_S)));
    json_object_set_new(json, "lifetime_s", json_integer(head->lifetime_s));
    json_object_set_new(json, "is_pinned", json_boolean(head->is_pinned));
    json_object_set_new(json, "vary", text_json(head->vary));
    json_object_set_new(json, "tags", text_json(head->tags));
    json_object_set_new(json, "etag", text_json(object->etag));
    json_object_set_new(json, "codings", codings_json(object));
    return json;
}

json_t *fg_admin_cache_objects(const struct fg_admin_options *options, const struct fg_exchange *ex)
{
    struct fg_cache_object *objects[OBJECTS_MAX];
    struct fg_span prefix = {NULL, 0};
    struct fg_admin_query query;
    struct fg_span name, value;
    fg_admin_query_init(&query, ex);
    while (fg_admin_query_next(&query, &name, &value)) {
        if (!fg_span_equal(name, FG_SPAN("prefix")))
            return NULL;
        prefix = fg_admin_query_path(ex->arena, value);
    }
    if (query.is_bad)
        return NULL;
    size_t count =
        fg_cache_store_list(fg_pipeline_cache(options->pipeline), prefix, objects, OBJECTS_MAX);
    uint64_t now_ns = fg_clock_monotonic_ns();
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, object_json(options, objects[i], now_ns));
        fg_cache_object_release(objects[i]);
    }
    return json_pack("{s:o}", "objects", list);
}

json_t *fg_admin_purge_cache(const struct fg_admin_options *options, const struct fg_exchange *ex)
{
    static const struct {
        struct fg_span name;
        enum fg_cache_purge_kind kind;
    } kinds[] = {
        {FG_SPAN_LITERAL("path"), FG_CACHE_PURGE_PATH},
        {FG_SPAN_LITERAL("prefix"), FG_CACHE_PURGE_PREFIX},
        {FG_SPAN_LITERAL("tag"), FG_CACHE_PURGE_TAG},
    };
    struct fg_span what = {NULL, 0};
    enum fg_cache_purge_kind kind = FG_CACHE_PURGE_ALL;
    struct fg_admin_query query;
    struct fg_span name, value;
    fg_admin_query_init(&query, ex);
    while (fg_admin_query_next(&query, &name, &value)) {
        bool is_known = false;
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
            if (!fg_span_equal(name, kinds[i].name))
                continue;
            bool is_first = value.len > 0 && what.data == NULL;
            kind = kinds[i].kind;
            what = kind == FG_CACHE_PURGE_TAG ? value : fg_admin_query_path(ex->arena, value);
            is_known = is_first && what.data != NULL;
        }
        if (!is_known)
            return NULL;
    }
    if (query.is_bad)
        return NULL;
    uint64_t count = fg_cache_store_purge(fg_pipeline_cache(options->pipeline), kind, what);
    return json_pack("{s:I}", "purged", (json_int_t)count);
}
