/*
 * circuit_breaker.c: stop calling what keeps failing or has become slow, then ask it again with a
 * trickle of probes, the most important callers first.
 * Job      say pass, probe or refuse for each call; learn from how each ended.
 * Thread   one owner at a time.
 * Never    lets more than half_open_probes calls at a recovering backend, nor two within
 *          half_open_interval_ns; never loses a probe slot: whoever got PROBE records it,
 *          cancelled or not.
 * Source   Nygard, "Release It!" (2007), stability patterns; rolling window as in Hystrix; slow
 * calls as a rule of their own as in resilience4j.
 *
 *           failures in a row, share of failures or of slow calls in the window, at the limit
 *    CLOSED ------------------------------------------------------------> OPEN <--.
 *      ^                                                open_now_ns passed |      | a probe fails
 * or |   half_open_probes successes                                      v      | is slow
 *      '------------------------------------------------------------- HALF_OPEN --'
 *
 * A share opens it only by what is of several instants (failure_row.h): one restart is no share.
 * An opening lasts open_ns at first. It is twice the last one, up to open_max_ns, when a probe
 * failed, or when the breaker had been closed for less time than the last opening took (it flaps);
 * else open_ns again.
 *
 * Law of the trickle: a probe falls due half_open_interval_ns after the last one. It goes to the
 * first caller of the most important class that has asked within the last interval; if none of it
 * comes for one interval after the probe fell due, to whoever asks.
 */
#include "policies/circuit_breaker.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>
#include <string.h>

#define MOVE(state) (1u << (state))

static const uint8_t legal_moves[] = {
    [FG_BREAKER_CLOSED] = MOVE(FG_BREAKER_OPEN),
    [FG_BREAKER_OPEN] = MOVE(FG_BREAKER_HALF_OPEN),
    [FG_BREAKER_HALF_OPEN] = MOVE(FG_BREAKER_CLOSED) | MOVE(FG_BREAKER_OPEN),
};

static void count_up(uint32_t *counter)
{
    if (*counter < UINT32_MAX)
        (*counter)++;
}

static void clear_window(struct fg_circuit_breaker *cb)
{
    memset(cb->buckets, 0, sizeof(cb->buckets));
    fg_failure_row_end(&cb->row);
    fg_failure_row_end(&cb->failed);
    fg_failure_row_end(&cb->slow);
}

static void forget_who_asked(struct fg_circuit_breaker *cb)
{
    for (size_t i = 0; i < FG_PRIORITY_COUNT; i++)
        cb->asked_ns[i] = FG_POLICY_NEVER;
}

static void set_state(struct fg_circuit_breaker *cb, enum fg_breaker_state next, uint64_t now_ns)
{
    assert((legal_moves[cb->state] & MOVE(next)) != 0);
    cb->state = next;
    clear_window(cb);
    cb->probe_successes = 0;
    if (next == FG_BREAKER_CLOSED) {
        cb->closed_at_ns = now_ns;
        forget_who_asked(cb);
    }
    if (next == FG_BREAKER_HALF_OPEN)
        cb->probe_due_ns = cb->open_until_ns;
    if (next == FG_BREAKER_OPEN) {
        cb->open_until_ns = fg_add_saturating(now_ns, cb->open_now_ns);
        cb->opened_total++;
    }
}

static void open_breaker(struct fg_circuit_breaker *cb, uint64_t now_ns,
                         struct fg_breaker_cause cause)
{
    bool is_relapse = cb->state == FG_BREAKER_HALF_OPEN ||
                      fg_subtract_floor(now_ns, cb->closed_at_ns) < cb->open_now_ns;
    uint64_t doubled_ns = fg_add_saturating(cb->open_now_ns, cb->open_now_ns);
    if (!is_relapse)
        cb->open_now_ns = cb->config.open_ns;
    else if (doubled_ns < cb->config.open_max_ns)
        cb->open_now_ns = doubled_ns;
    else
        cb->open_now_ns = cb->config.open_max_ns;
    cb->cause = cause;
    set_state(cb, FG_BREAKER_OPEN, now_ns);
}

/* The bucket for now_ns, after clearing those whose time has come again. */
static struct fg_breaker_bucket *current_bucket(struct fg_circuit_breaker *cb, uint64_t now_ns)
{
    uint64_t number = now_ns / (cb->config.window_ns / FG_BREAKER_BUCKET_COUNT);
    if (number > cb->bucket_number) {
        uint64_t steps = number - cb->bucket_number;
        for (uint64_t i = 0; i < steps && i < FG_BREAKER_BUCKET_COUNT; i++)
            cb->buckets[(number - i) % FG_BREAKER_BUCKET_COUNT] = (struct fg_breaker_bucket){0};
        cb->bucket_number = number;
    } else if (cb->bucket_number - number >= FG_BREAKER_BUCKET_COUNT) {
        clear_window(cb); /* the clock went back by more than the window */
        cb->bucket_number = number;
    }
    return &cb->buckets[cb->bucket_number % FG_BREAKER_BUCKET_COUNT];
}

static bool is_share(uint64_t part, uint64_t total, uint32_t permille)
{
    return permille != 0 && part != 0 && part * 1000 >= total * permille;
}

static struct fg_breaker_cause by_share(enum fg_breaker_rule rule, uint64_t part, uint64_t total,
                                        uint32_t permille)
{
    return (struct fg_breaker_cause){rule, (uint32_t)(part * 100 / total), permille / 10};
}

/* Which rule says that the backend is to be left alone, and why. */
static struct fg_breaker_cause judge(const struct fg_circuit_breaker *cb)
{
    static const struct fg_breaker_cause nothing = {FG_BREAKER_BY_NOTHING, 0, 0};
    const struct fg_breaker_config *config = &cb->config;
    if (config->consecutive_failures != 0 && cb->row.count >= config->consecutive_failures)
        return (struct fg_breaker_cause){FG_BREAKER_BY_ROW, cb->row.count,
                                         config->consecutive_failures};
    uint64_t failures = 0;
    uint64_t slow = 0;
    uint64_t total = 0;
    uint64_t failed_at = 0;
    uint64_t slow_at = 0;
    for (size_t i = 0; i < FG_BREAKER_BUCKET_COUNT; i++) {
        failures += cb->buckets[i].failures;
        slow += cb->buckets[i].slow;
        failed_at += cb->buckets[i].failed_at;
        slow_at += cb->buckets[i].slow_at;
        total += (uint64_t)cb->buckets[i].successes + cb->buckets[i].failures;
    }
    if (total < config->min_requests)
        return nothing;
    if (failed_at >= FG_BREAKER_INSTANTS_LEAST && is_share(failures, total, config->error_permille))
        return by_share(FG_BREAKER_BY_ERRORS, failures, total, config->error_permille);
    if (slow_at >= FG_BREAKER_INSTANTS_LEAST && is_share(slow, total, config->slow_permille))
        return by_share(FG_BREAKER_BY_LATENCY, slow, total, config->slow_permille);
    return nothing;
}

static void record_closed(struct fg_circuit_breaker *cb, uint64_t now_ns, uint64_t latency_ns,
                          bool is_failure, bool is_slow)
{
    struct fg_breaker_bucket *bucket = current_bucket(cb, now_ns);
    count_up(is_failure ? &bucket->failures : &bucket->successes);
    if (is_slow)
        count_up(&bucket->slow);
    if (is_slow && fg_failure_row_note(&cb->slow, now_ns, latency_ns))
        count_up(&bucket->slow_at);
    if (is_failure && fg_failure_row_note(&cb->failed, now_ns, latency_ns))
        count_up(&bucket->failed_at);
    if (is_failure)
        (void)fg_failure_row_note(&cb->row, now_ns, latency_ns);
    else
        fg_failure_row_end(&cb->row);
    if (!is_failure && !is_slow)
        return; /* only these make it worse */
    struct fg_breaker_cause cause = judge(cb);
    if (cause.rule != FG_BREAKER_BY_NOTHING)
        open_breaker(cb, now_ns, cause);
}

static void record_half_open(struct fg_circuit_breaker *cb, uint64_t now_ns, bool is_bad)
{
    if (is_bad) {
        open_breaker(cb, now_ns,
                     (struct fg_breaker_cause){FG_BREAKER_BY_PROBE, cb->probe_successes,
                                               cb->config.half_open_probes});
        return;
    }
    cb->probe_successes++;
    if (cb->probe_successes >= cb->config.half_open_probes)
        set_state(cb, FG_BREAKER_CLOSED, now_ns);
}

struct fg_breaker_config fg_circuit_breaker_config_default(void)
{
    return (struct fg_breaker_config){
        .consecutive_failures = 5,
        .error_permille = 500,
        .min_requests = 20,
        .half_open_probes = 3,
        .window_ns = 10 * FG_POLICY_S,
        .open_ns = 1 * FG_POLICY_S,
        .open_max_ns = 30 * FG_POLICY_S,
        .slow_permille = 500,
        .half_open_interval_ns = 100 * FG_POLICY_MS,
    };
}

void fg_circuit_breaker_init(struct fg_circuit_breaker *cb, const struct fg_breaker_config *config,
                             uint64_t now_ns)
{
    assert(config->half_open_probes >= 1);
    assert(config->error_permille <= 1000 && config->slow_permille <= 1000);
    assert(config->window_ns >= FG_BREAKER_BUCKET_COUNT);
    assert(config->open_ns >= 1);
    assert(config->open_max_ns >= config->open_ns);
    *cb = (struct fg_circuit_breaker){
        .config = *config,
        .state = FG_BREAKER_CLOSED,
        .closed_at_ns = now_ns,
        .bucket_number = now_ns / (config->window_ns / FG_BREAKER_BUCKET_COUNT),
    };
    forget_who_asked(cb);
}

/* Somebody more important than `priority` has asked within the last interval, and will again. */
static bool has_better(const struct fg_circuit_breaker *cb, enum fg_priority priority,
                       uint64_t now_ns)
{
    for (size_t i = 0; i < (size_t)priority; i++) {
        if (cb->asked_ns[i] != FG_POLICY_NEVER &&
            fg_subtract_floor(now_ns, cb->asked_ns[i]) < cb->config.half_open_interval_ns)
            return true;
    }
    return false;
}

/* 0: the caller has it; else how long until it may. */
static uint64_t probe_wait_ns(struct fg_circuit_breaker *cb, enum fg_priority priority,
                              uint64_t now_ns)
{
    uint64_t interval_ns = cb->config.half_open_interval_ns;
    if (cb->probes_in_flight >= cb->config.half_open_probes)
        return cb->config.open_ns; /* by then the probes should have decided */
    if (fg_subtract_floor(cb->probe_due_ns, now_ns) > interval_ns)
        cb->probe_due_ns = fg_add_saturating(now_ns, interval_ns); /* the clock went back */
    if (now_ns < cb->probe_due_ns)
        return cb->probe_due_ns - now_ns;
    uint64_t anyone_ns = fg_add_saturating(cb->probe_due_ns, interval_ns);
    return now_ns < anyone_ns && has_better(cb, priority, now_ns) ? anyone_ns - now_ns : 0;
}

static bool is_shut(struct fg_circuit_breaker *cb, uint64_t now_ns, uint64_t *retry_after_ns)
{
    if (fg_subtract_floor(cb->open_until_ns, now_ns) > cb->open_now_ns)
        cb->open_until_ns = fg_add_saturating(now_ns, cb->open_now_ns); /* the clock went back */
    if (cb->state != FG_BREAKER_OPEN || now_ns >= cb->open_until_ns)
        return false;
    *retry_after_ns = cb->open_until_ns - now_ns;
    return true;
}

bool fg_circuit_breaker_is_shut(struct fg_circuit_breaker *cb, enum fg_priority priority,
                                uint64_t now_ns, uint64_t *retry_after_ns)
{
    assert((unsigned)priority < FG_PRIORITY_COUNT);
    *retry_after_ns = 0;
    if (cb->state != FG_BREAKER_OPEN || !is_shut(cb, now_ns, retry_after_ns))
        return false;
    cb->asked_ns[priority] = now_ns;
    cb->refused_total++;
    return true;
}

enum fg_breaker_verdict fg_circuit_breaker_try_pass(struct fg_circuit_breaker *cb,
                                                    enum fg_priority priority, uint64_t now_ns,
                                                    uint64_t *retry_after_ns)
{
    assert((unsigned)priority < FG_PRIORITY_COUNT);
    *retry_after_ns = 0;
    if (cb->state == FG_BREAKER_CLOSED)
        return FG_BREAKER_PASS;
    cb->asked_ns[priority] = now_ns;
    if (!is_shut(cb, now_ns, retry_after_ns)) {
        if (cb->state == FG_BREAKER_OPEN)
            set_state(cb, FG_BREAKER_HALF_OPEN, now_ns);
        *retry_after_ns = probe_wait_ns(cb, priority, now_ns);
    }
    if (*retry_after_ns > 0) {
        cb->refused_total++;
        return FG_BREAKER_REFUSE;
    }
    cb->probe_due_ns = fg_add_saturating(now_ns, cb->config.half_open_interval_ns);
    cb->probes_in_flight++;
    cb->probes_total++;
    return FG_BREAKER_PROBE;
}

bool fg_circuit_breaker_resume(struct fg_circuit_breaker *cb, uint64_t now_ns)
{
    uint64_t left_ns;
    if (cb->state == FG_BREAKER_OPEN && !is_shut(cb, now_ns, &left_ns))
        set_state(cb, FG_BREAKER_HALF_OPEN, now_ns);
    if (cb->state != FG_BREAKER_HALF_OPEN)
        return false;
    cb->probes_in_flight++;
    cb->probes_total++;
    return true;
}

/* The place of a probe has come free: those who may have it are asked from now on. */
static void give_probe_back(struct fg_circuit_breaker *cb, uint64_t now_ns)
{
    assert(cb->probes_in_flight > 0);
    if (cb->probes_in_flight == cb->config.half_open_probes && cb->probe_due_ns < now_ns)
        cb->probe_due_ns = now_ns;
    cb->probes_in_flight--;
}

void fg_circuit_breaker_record(struct fg_circuit_breaker *cb, uint64_t now_ns, bool was_probe,
                               enum fg_breaker_outcome outcome, uint64_t latency_ns)
{
    bool is_slow = cb->config.slow_ns != 0 && latency_ns >= cb->config.slow_ns;
    bool is_failure = outcome == FG_BREAKER_FAILURE || (outcome == FG_BREAKER_CUT_SHORT && is_slow);
    if (was_probe)
        give_probe_back(cb, now_ns);
    if (outcome == FG_BREAKER_CANCELLED || (outcome == FG_BREAKER_CUT_SHORT && !is_failure))
        return;
    if (cb->state == FG_BREAKER_CLOSED)
        record_closed(cb, now_ns, latency_ns, is_failure, is_slow);
    else if (cb->state == FG_BREAKER_HALF_OPEN && was_probe)
        record_half_open(cb, now_ns, is_failure || is_slow);
    /* else: sent before it opened, and the breaker already knows better */
}

enum fg_breaker_state fg_circuit_breaker_state(const struct fg_circuit_breaker *cb, uint64_t now_ns)
{
    if (cb->state == FG_BREAKER_OPEN && now_ns >= cb->open_until_ns)
        return FG_BREAKER_HALF_OPEN;
    return cb->state;
}

double fg_breaker_openness(enum fg_breaker_state state)
{
    return state == FG_BREAKER_OPEN ? 1.0 : state == FG_BREAKER_HALF_OPEN ? 0.5 : 0.0;
}

const char *fg_breaker_state_name(enum fg_breaker_state state)
{
    switch (state) {
    case FG_BREAKER_CLOSED:
        return "closed";
    case FG_BREAKER_OPEN:
        return "open";
    case FG_BREAKER_HALF_OPEN:
        return "half_open";
    }
    return "unknown";
}

const char *fg_breaker_rule_name(enum fg_breaker_rule rule)
{
    static const char *const names[] = {"none", "consecutive_failures", "error_ratio", "slow_ratio",
                                        "probe"};
    assert((size_t)rule < sizeof(names) / sizeof(names[0]));
    return names[rule];
}
