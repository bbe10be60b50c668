/*
 * lease_client.c: one command a question. What the link refuses (away, or too many under way) is
 * told to the table at once, which then goes by the local share. A key whose question was lost
 * rests by itself (policies/lease.h); when many in a row were, of whatever keys, all of the loop's
 * rest.
 */
#include "lease_client.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ARG_KEY, ARG_CHARGED, ARG_WANTED, ARG_AMOUNT, ARG_PERIOD, ARG_BURST, ARG_COUNT };

#define LOST_MOST 16u /* in a row before the loop rests: one node of a cluster answers some keys */
#define KEY_BYTES 192 /* two names of 64 bytes at most, and a hash */
#define NUMBER_BYTES 32

struct lease_asking {
    struct fg_list list;
    struct fg_lease_client *client;
    struct fg_rate_table *table;
    struct fg_limit_key key;
    struct fg_redis_command *command;
    struct fg_span args[ARG_COUNT];
    char redis_key[KEY_BYTES];
    char numbers[ARG_COUNT][NUMBER_BYTES];
};

struct fg_lease_client {
    struct fg_redis_link *link;
    unsigned script;
    const char *prefix;
    struct fg_list asking;
    struct fg_list free;
    unsigned lost_in_row; /* while not resting */
    uint64_t rest_until_ns;
};

extern const unsigned char fg_embedded_lua_rate_lease[];
extern const size_t fg_embedded_lua_rate_lease_len;

const struct fg_siphash_key fg_lease_naming = {UINT64_C(0x72617465206c696d),
                                               UINT64_C(0x697473206f662061)};

unsigned fg_lease_client_add_script(struct fg_shared_state *state)
{
    return fg_shared_state_add_script(state, (const char *)fg_embedded_lua_rate_lease,
                                      fg_embedded_lua_rate_lease_len);
}

struct fg_lease_client *fg_lease_client_create(struct fg_redis_link *link, unsigned script,
                                               const char *prefix)
{
    struct fg_lease_client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return NULL;
    *client = (struct fg_lease_client){.link = link, .script = script, .prefix = prefix};
    fg_list_init(&client->asking);
    fg_list_init(&client->free);
    return client;
}

void fg_lease_client_destroy(struct fg_lease_client *client)
{
    struct fg_list *it;
    if (client == NULL)
        return;
    while ((it = fg_list_pop_front(&client->asking)) != NULL) {
        struct lease_asking *asking = FG_CONTAINER_OF(it, struct lease_asking, list);
        fg_redis_command_detach(asking->command);
        free(asking);
    }
    while ((it = fg_list_pop_front(&client->free)) != NULL)
        free(FG_CONTAINER_OF(it, struct lease_asking, list));
    free(client);
}

static bool is_answer(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
           reply->element[0]->type == REDIS_REPLY_INTEGER &&
           reply->element[1]->type == REDIS_REPLY_INTEGER && reply->element[0]->integer >= 0 &&
           reply->element[0]->integer <= UINT32_MAX && reply->element[1]->integer >= 0;
}

/* Those that come in while it rests were asked before. */
static void note_lost(struct fg_lease_client *client, uint64_t lot, uint64_t now_ns)
{
    if (now_ns < client->rest_until_ns)
        return;
    client->lost_in_row++;
    if (client->lost_in_row >= LOST_MOST)
        client->rest_until_ns = now_ns + fg_lease_rest_ns(client->lost_in_row - LOST_MOST + 1, lot);
}

static void on_reply(void *owner, enum fg_redis_outcome outcome, const redisReply *reply)
{
    static struct fg_log_limit limit;
    struct lease_asking *asking = owner;
    struct fg_lease_client *client = asking->client;
    uint64_t now_ns = fg_clock_monotonic_ns();
    fg_list_remove(&asking->list);
    fg_list_push_front(&client->free, &asking->list);
    if (outcome == FG_REDIS_REPLY && is_answer(reply)) {
        client->lost_in_row = 0;
        client->rest_until_ns = 0;
        fg_rate_table_granted(asking->table, asking->key, now_ns,
                              (uint32_t)reply->element[0]->integer,
                              (uint64_t)reply->element[1]->integer * FG_US);
        return;
    }
    if (outcome == FG_REDIS_REPLY)
        fg_log_limited(&limit, 1, FG_LOG_WARN, "rate_lease_refused",
                       "limit=%s reply=\"%.120s\" effect=\"the local share applies\"",
                       fg_rate_table_conf(asking->table)->name,
                       reply->type == REDIS_REPLY_ERROR ? reply->str : "of another form");
    note_lost(client, asking->key.hi, now_ns);
    fg_rate_table_lost(asking->table, asking->key, now_ns);
}

static struct lease_asking *take_asking(struct fg_lease_client *client)
{
    struct fg_list *first = fg_list_pop_front(&client->free);
    return first != NULL ? FG_CONTAINER_OF(first, struct lease_asking, list)
                         : calloc(1, sizeof(struct lease_asking));
}

static void set_number(struct lease_asking *asking, unsigned arg, int64_t number)
{
    int len = snprintf(asking->numbers[arg], NUMBER_BYTES, "%" PRId64, number);
    asking->args[arg] = fg_span_make(asking->numbers[arg], (size_t)len);
}

/* PREFIX:rate:{LIMIT:HASH}: a cluster keeps each key on one node. */
static void set_args(struct lease_asking *asking, struct fg_limit_key name,
                     const struct fg_lease_question *question)
{
    const struct fg_rate_limit_conf *conf = fg_rate_table_conf(asking->table);
    int len = snprintf(asking->redis_key, KEY_BYTES, "%s:rate:{%s:%016" PRIx64 "%016" PRIx64 "}",
                       asking->client->prefix, conf->name, name.hi, name.lo);
    asking->args[ARG_KEY] = fg_span_make(asking->redis_key, (size_t)len);
    set_number(asking, ARG_CHARGED, question->charged);
    set_number(asking, ARG_WANTED, question->wanted);
    set_number(asking, ARG_AMOUNT, (int64_t)conf->rate.amount);
    set_number(asking, ARG_BURST, (int64_t)conf->burst);
    len = snprintf(asking->numbers[ARG_PERIOD], NUMBER_BYTES, "%.3f",
                   (double)conf->rate.period_ns / FG_US);
    asking->args[ARG_PERIOD] = fg_span_make(asking->numbers[ARG_PERIOD], (size_t)len);
}

void fg_lease_client_ask(struct fg_lease_client *client, struct fg_rate_table *table,
                         struct fg_limit_key key, struct fg_limit_key name,
                         const struct fg_lease_question *question)
{
    uint64_t now_ns = fg_clock_monotonic_ns();
    struct lease_asking *asking = now_ns < client->rest_until_ns ? NULL : take_asking(client);
    if (asking == NULL) {
        fg_rate_table_not_asked(table, key, now_ns, question);
        return;
    }
    asking->client = client;
    asking->table = table;
    asking->key = key;
    set_args(asking, name, question);
    const struct fg_redis_request request = {.is_script = true,
                                             .script = client->script,
                                             .key_count = 1,
                                             .args = asking->args,
                                             .arg_count = ARG_COUNT,
                                             .is_repeatable = false, /* twice charges twice */
                                             .on_reply = on_reply,
                                             .owner = asking};
    if (fg_redis_link_submit(client->link, &request, &asking->command) == FG_OK) {
        fg_list_push_back(&client->asking, &asking->list);
        return;
    }
    fg_list_push_front(&client->free, &asking->list);
    fg_rate_table_not_asked(table, key, now_ns, question);
}
