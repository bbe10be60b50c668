/*
 * orders_link.c: what a new connection to Redis needs before orders may use it: the stock of new
 * articles, and a look at how durable an external Redis is.
 * Thread   the event loop of the link.
 */
#include "orders_internal.h"

#include "base/log.h"

#include <string.h>

static void on_config(redisAsyncContext *context, void *reply_object, void *private_data)
{
    const redisReply *reply = reply_object;
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[0]->type == REDIS_REPLY_STRING &&
        reply->element[1]->type == REDIS_REPLY_STRING) {
        const char *name = reply->element[0]->str;
        const char *value = reply->element[1]->str;
        const char *wanted = strcmp(name, "appendonly") == 0 ? "yes" : "always";
        if (strcmp(value, wanted) != 0)
            fg_log(FG_LOG_WARN, "redis_durability_weaker",
                   "setting=%s value=%s wanted=%s effect=\"acknowledged orders may be lost\"", name,
                   value, wanted);
    }
    fg_redis_link_prepared(private_data, context, reply, false);
}

static void check_durability(struct fg_orders_thread *thread)
{
    static const char *const settings[] = {"appendonly", "appendfsync"};
    if (thread->conf->redis.embedded || thread->conf->durability != FG_DURABILITY_AOF ||
        thread->is_durability_checked || thread->env.thread_index != 0)
        return;
    thread->is_durability_checked = true;
    for (size_t i = 0; i < 2; i++)
        fg_redis_link_prepare(&thread->link, on_config, "CONFIG GET %s", settings[i]);
}

void fg_orders_prepare_link(struct fg_redis_link *link)
{
    struct fg_orders_thread *thread = FG_CONTAINER_OF(link, struct fg_orders_thread, link);
    for (size_t i = 0; i < thread->conf->sku_count; i++) {
        const struct fg_sku_conf *sku = &thread->conf->skus[i];
        fg_redis_link_prepare(link, NULL, "SET %sstock:%s %llu NX", thread->orders->prefix,
                              sku->sku, (unsigned long long)sku->stock);
    }
    check_durability(thread);
}
