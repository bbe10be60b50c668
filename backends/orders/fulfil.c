/*
 * fulfil.c: consumer of the order stream. An entry becomes a move that is due later; moves that are
 * due are made. Both are Lua scripts that look at the order's state, so a process that dies
 * anywhere leaves nothing half done, and doing a thing again has no effect.
 * Thread   a process of its own, blocking; signals arrive only while it waits for a reply.
 * Never    keeps anything of an order in memory from one round to the next.
 *
 *    stream --XREADGROUP, XAUTOCLAIM--> take --> due --step--> confirmed --> due --> completed
 */
#include "fulfil.h"

#include "base/clock.h"
#include "base/log.h"
#include "orders/redis_sync.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define GROUP "fulfil"
#define BATCH 64
#define BLOCK_MAX_MS 1000
#define CLAIM_IDLE_MS 5000
#define BACKOFF_FIRST_NS (20 * FG_MS)
#define BACKOFF_MAX_NS FG_S

struct fulfil {
    const struct fg_orders_conf *conf;
    pid_t parent_pid;
    redisContext *redis;
    char prefix[FG_ORDERS_PREFIX_BYTES];
    char stream[FG_ORDERS_PREFIX_BYTES + 8];
    char consumer[32];
    char confirm_after_ms[24];
    char complete_after_ms[24];
    uint64_t claimed_ns; /* when entries of dead consumers were last looked for */
    sigset_t wait_mask;  /* while waiting: SIGTERM comes through */
};

static volatile sig_atomic_t is_stopping;

static void on_terminate(int number)
{
    (void)number;
    is_stopping = 1;
}

static bool must_stop(const struct fulfil *fulfil)
{
    sigset_t pending;
    return is_stopping != 0 || (fulfil->parent_pid != 0 && getppid() != fulfil->parent_pid) ||
           (sigpending(&pending) == 0 && sigismember(&pending, SIGTERM) == 1);
}

static void set_signals(struct fulfil *fulfil)
{
    struct sigaction action = {.sa_handler = on_terminate};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t blocked;
    sigemptyset(&action.sa_mask);
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &ignore, NULL); /* a terminal's Ctrl-C: the parent decides */
    sigaction(SIGHUP, &ignore, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigemptyset(&fulfil->wait_mask);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
}

/* Waits at most `ns`, or until SIGTERM. */
static void pause_for(const struct fulfil *fulfil, uint64_t ns)
{
    struct timespec wait = {.tv_sec = (time_t)(ns / FG_S), .tv_nsec = (long)(ns % FG_S)};
    ppoll(NULL, 0, &wait, &fulfil->wait_mask);
}

/* ---- Redis ---- */

/* False: the connection is of no use any more. An error reply is logged and counts as such. */
static bool is_usable(const struct fulfil *fulfil, const redisReply *reply, const char *what)
{
    static struct fg_log_limit limit;
    if (reply != NULL && reply->type != REDIS_REPLY_ERROR)
        return true;
    fg_log_limited(&limit, 1, FG_LOG_WARN, "fulfil_redis_failed", "command=%s reason=\"%.120s\"",
                   what, reply != NULL ? reply->str : fulfil->redis->errstr);
    return false;
}

static bool make_group(struct fulfil *fulfil)
{
    redisReply *reply =
        redisCommand(fulfil->redis, "XGROUP CREATE %s " GROUP " 0 MKSTREAM", fulfil->stream);
    bool is_there = reply != NULL && reply->type == REDIS_REPLY_ERROR &&
                    strncmp(reply->str, "BUSYGROUP", 9) == 0;
    bool is_good = is_there || is_usable(fulfil, reply, "XGROUP");
    freeReplyObject(reply);
    return is_good;
}

/* Entries of a stream become due moves: [[id, [name, order]], ...]; a deleted one has no fields. */
static bool take(struct fulfil *fulfil, const redisReply *entries)
{
    const char *argv[3 + 2 * BATCH];
    size_t lens[3 + 2 * BATCH];
    int argc = 3;
    argv[0] = fulfil->prefix;
    argv[1] = GROUP;
    argv[2] = fulfil->confirm_after_ms;
    for (int i = 0; i < 3; i++)
        lens[i] = strlen(argv[i]);
    for (size_t i = 0; i < entries->elements && argc < 2 + 2 * BATCH; i++) {
        const redisReply *entry = entries->element[i];
        if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2)
            continue;
        const redisReply *fields = entry->element[1];
        bool is_whole = fields->type == REDIS_REPLY_ARRAY && fields->elements >= 2;
        argv[argc] = entry->element[0]->str;
        lens[argc++] = (size_t)entry->element[0]->len;
        argv[argc] = is_whole ? fields->element[1]->str : "";
        lens[argc++] = is_whole ? (size_t)fields->element[1]->len : 0;
    }
    if (argc == 3)
        return true;
    redisReply *reply =
        fg_redis_sync_script(fulfil->redis, FG_SCRIPT_FULFIL_TAKE, argc, argv, lens);
    bool is_good = is_usable(fulfil, reply, "fulfil_take");
    freeReplyObject(reply);
    return is_good;
}

/* [[stream, entries]] of XREADGROUP; *count is how many there were. */
static bool take_read(struct fulfil *fulfil, const redisReply *reply, size_t *count)
{
    *count = 0;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1 ||
        reply->element[0]->type != REDIS_REPLY_ARRAY || reply->element[0]->elements != 2 ||
        reply->element[0]->element[1]->type != REDIS_REPLY_ARRAY)
        return true; /* nothing came */
    const redisReply *entries = reply->element[0]->element[1];
    *count = entries->elements;
    return take(fulfil, entries);
}

/* What this consumer was given before it died: at each new connection. */
static bool take_own_pending(struct fulfil *fulfil)
{
    size_t count = 1;
    while (count > 0) {
        redisReply *reply =
            redisCommand(fulfil->redis, "XREADGROUP GROUP " GROUP " %s COUNT %d STREAMS %s 0",
                         fulfil->consumer, BATCH, fulfil->stream);
        bool is_good = is_usable(fulfil, reply, "XREADGROUP") && take_read(fulfil, reply, &count);
        freeReplyObject(reply);
        if (!is_good)
            return false;
    }
    return true;
}

/* What other consumers were given and have not taken for CLAIM_IDLE_MS. */
static bool claim_from_others(struct fulfil *fulfil)
{
    uint64_t now_ns = fg_clock_monotonic_ns();
    if (fulfil->claimed_ns != 0 && now_ns - fulfil->claimed_ns < CLAIM_IDLE_MS * FG_MS)
        return true;
    fulfil->claimed_ns = now_ns;
    redisReply *reply = redisCommand(fulfil->redis, "XAUTOCLAIM %s " GROUP " %s %d 0 COUNT %d",
                                     fulfil->stream, fulfil->consumer, CLAIM_IDLE_MS, BATCH);
    bool is_good = is_usable(fulfil, reply, "XAUTOCLAIM");
    if (is_good && reply->type == REDIS_REPLY_ARRAY && reply->elements >= 2 &&
        reply->element[1]->type == REDIS_REPLY_ARRAY) {
        if (reply->element[1]->elements == BATCH)
            fulfil->claimed_ns = 0; /* there may be more */
        is_good = take(fulfil, reply->element[1]);
    }
    freeReplyObject(reply);
    return is_good;
}

/* Makes all moves that are due; *wait_ms is how long until the next. */
static bool step(struct fulfil *fulfil, uint64_t *wait_ms)
{
    const char *argv[] = {fulfil->prefix, fulfil->complete_after_ms, "64"};
    const size_t lens[] = {strlen(argv[0]), strlen(argv[1]), strlen(argv[2])};
    long long moved = 1;
    *wait_ms = BLOCK_MAX_MS;
    while (moved > 0 && !must_stop(fulfil)) {
        redisReply *reply =
            fg_redis_sync_script(fulfil->redis, FG_SCRIPT_FULFIL_STEP, 3, argv, lens);
        if (!is_usable(fulfil, reply, "fulfil_step") || reply->type != REDIS_REPLY_ARRAY ||
            reply->elements != 2) {
            freeReplyObject(reply);
            return false;
        }
        moved = reply->element[0]->integer;
        long long wait = reply->element[1]->integer;
        *wait_ms = wait < 0 || wait > BLOCK_MAX_MS ? BLOCK_MAX_MS : (uint64_t)wait;
        freeReplyObject(reply);
    }
    return true;
}

/* Waits for new entries; SIGTERM ends the waiting. */
static bool read_new(struct fulfil *fulfil, uint64_t wait_ms)
{
    redisContext *redis = fulfil->redis;
    uint64_t block_ms = wait_ms == 0 ? 1 : wait_ms; /* BLOCK 0 would be for ever */
    uint64_t limit_ns = block_ms * FG_MS + fulfil->conf->redis.command_timeout_ns;
    struct timespec limit = {.tv_sec = (time_t)(limit_ns / FG_S),
                             .tv_nsec = (long)(limit_ns % FG_S)};
    struct pollfd wait = {.fd = redis->fd, .events = POLLIN};
    int is_written = 0;
    if (redisAppendCommand(redis, "XREADGROUP GROUP " GROUP " %s COUNT %d BLOCK %llu STREAMS %s >",
                           fulfil->consumer, BATCH, (unsigned long long)block_ms,
                           fulfil->stream) != REDIS_OK)
        return false;
    while (is_written == 0) {
        if (redisBufferWrite(redis, &is_written) != REDIS_OK)
            return is_usable(fulfil, NULL, "XREADGROUP");
    }
    int ready = ppoll(&wait, 1, &limit, &fulfil->wait_mask);
    if (ready != 1) /* a signal: no more is to be read here; or Redis hangs */
        return ready == -1 && errno == EINTR && is_stopping != 0;
    redisReply *reply = NULL;
    size_t count;
    void *object = NULL;
    if (redisGetReply(redis, &object) == REDIS_OK)
        reply = object;
    bool is_good = is_usable(fulfil, reply, "XREADGROUP") && take_read(fulfil, reply, &count);
    freeReplyObject(reply);
    return is_good;
}

/* ---- the process ---- */

/* One connection, until it fails (false) or the process is to stop (true). */
static bool serve(struct fulfil *fulfil)
{
    uint64_t wait_ms = 0;
    if (!make_group(fulfil) || !take_own_pending(fulfil))
        return false;
    while (!must_stop(fulfil)) {
        if (!claim_from_others(fulfil) || !step(fulfil, &wait_ms) || must_stop(fulfil) ||
            !read_new(fulfil, wait_ms))
            return must_stop(fulfil);
    }
    return true;
}

static void init(struct fulfil *fulfil, const struct fg_fulfil_options *options)
{
    const struct fg_orders_conf *conf = options->conf;
    memset(fulfil, 0, sizeof(*fulfil));
    fulfil->conf = conf;
    fulfil->parent_pid = options->parent_pid;
    fg_orders_prefix(conf, fulfil->prefix);
    snprintf(fulfil->stream, sizeof(fulfil->stream), "%sorders", fulfil->prefix);
    snprintf(fulfil->consumer, sizeof(fulfil->consumer), "fulfil-%" PRIu32,
             options->consumer_index);
    snprintf(fulfil->confirm_after_ms, sizeof(fulfil->confirm_after_ms), "%" PRIu64,
             conf->confirm_after_ns / FG_MS);
    snprintf(fulfil->complete_after_ms, sizeof(fulfil->complete_after_ms), "%" PRIu64,
             conf->complete_after_ns / FG_MS);
}

int fg_fulfil_run(const struct fg_fulfil_options *options)
{
    static struct fg_log_limit limit;
    struct fulfil fulfil;
    uint64_t backoff_ns = BACKOFF_FIRST_NS;
    init(&fulfil, options);
    set_signals(&fulfil);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) == -1)
        return 1;
    fg_log(FG_LOG_INFO, "fulfil_started", "consumer=%s campaign=%s", fulfil.consumer,
           options->conf->campaign);
    while (!must_stop(&fulfil)) {
        struct fg_error error = {.file = ""};
        uint64_t began_ns = fg_clock_monotonic_ns();
        fulfil.redis = fg_redis_sync_connect(&options->conf->redis, &error);
        if (fulfil.redis == NULL)
            fg_log_limited(&limit, 1, FG_LOG_WARN, "fulfil_waits", "reason=\"%s\"", error.message);
        bool is_done = fulfil.redis != NULL && serve(&fulfil);
        if (fulfil.redis != NULL)
            redisFree(fulfil.redis);
        fulfil.redis = NULL;
        if (is_done)
            break;
        if (fg_clock_monotonic_ns() - began_ns > BACKOFF_MAX_NS)
            backoff_ns = BACKOFF_FIRST_NS; /* it had worked for a while */
        pause_for(&fulfil, backoff_ns);
        backoff_ns = backoff_ns * 2 > BACKOFF_MAX_NS ? BACKOFF_MAX_NS : backoff_ns * 2;
    }
    fg_log(FG_LOG_INFO, "fulfil_stopped", "consumer=%s", fulfil.consumer);
    return 0;
}
