/*
 * circuit_breaker.c: stop calling what keeps failing, then ask it again with a few probes.
 * Job      say pass, probe or refuse for each call; learn from how each ended.
 * Thread   one owner at a time.
 * Never    lets more than half_open_probes calls at a recovering backend; never loses a probe slot:
 *          whoever got PROBE records it, cancelled or not.
 * Source   Nygard, "Release It!" (2007), stability patterns; rolling window as in Hystrix.
 *
 *           failures_in_row, or share of failures in the window, at the limit
 *    CLOSED ------------------------------------------------------------> OPEN <--.
 *      ^                                                open_now_ns passed |      | a probe fails:
 *      |   half_open_probes successes                                      v      | open_now_ns x
 * 2,
 *      '------------------------------------------------------------- HALF_OPEN --'  <= open_max_ns
 *
 * An opening lasts open_ns at first. It is twice the last one when a probe failed, or when the
 * breaker had been closed for less time than the last opening took (it flaps); else open_ns again.
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
    cb->failures_in_row = 0;
}

static void set_state(struct fg_circuit_breaker *cb, enum fg_breaker_state next, uint64_t now_ns)
{
    assert((legal_moves[cb->state] & MOVE(next)) != 0);
    cb->state = next;
    clear_window(cb);
    cb->probe_successes = 0;
    if (next == FG_BREAKER_CLOSED)
        cb->closed_at_ns = now_ns;
    if (next == FG_BREAKER_OPEN) {
        cb->open_until_ns = fg_add_saturating(now_ns, cb->open_now_ns);
        cb->opened_total++;
    }
}

static void open_breaker(struct fg_circuit_breaker *cb, uint64_t now_ns)
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

static bool is_too_bad(const struct fg_circuit_breaker *cb)
{
    const struct fg_breaker_config *config = &cb->config;
    if (config->consecutive_failures != 0 && cb->failures_in_row >= config->consecutive_failures)
        return true;
    uint64_t failures = 0;
    uint64_t total = 0;
    for (size_t i = 0; i < FG_BREAKER_BUCKET_COUNT; i++) {
        failures += cb->buckets[i].failures;
        total += (uint64_t)cb->buckets[i].successes + cb->buckets[i].failures;
    }
    return config->error_permille != 0 && failures != 0 && total >= config->min_requests &&
           failures * 1000 >= total * config->error_permille;
}

static void record_closed(struct fg_circuit_breaker *cb, uint64_t now_ns, bool is_failure)
{
    struct fg_breaker_bucket *bucket = current_bucket(cb, now_ns);
    if (!is_failure) {
        count_up(&bucket->successes);
        cb->failures_in_row = 0;
        return;
    }
    count_up(&bucket->failures);
    count_up(&cb->failures_in_row);
    if (is_too_bad(cb))
        open_breaker(cb, now_ns);
}

static void record_half_open(struct fg_circuit_breaker *cb, uint64_t now_ns, bool is_failure)
{
    if (is_failure) {
        open_breaker(cb, now_ns);
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
    };
}

void fg_circuit_breaker_init(struct fg_circuit_breaker *cb, const struct fg_breaker_config *config,
                             uint64_t now_ns)
{
    assert(config->half_open_probes >= 1);
    assert(config->error_permille <= 1000);
    assert(config->window_ns >= FG_BREAKER_BUCKET_COUNT);
    assert(config->open_ns >= 1);
    assert(config->open_max_ns >= config->open_ns);
    *cb = (struct fg_circuit_breaker){
        .config = *config,
        .state = FG_BREAKER_CLOSED,
        .closed_at_ns = now_ns,
        .bucket_number = now_ns / (config->window_ns / FG_BREAKER_BUCKET_COUNT),
    };
}

enum fg_breaker_verdict fg_circuit_breaker_try_pass(struct fg_circuit_breaker *cb, uint64_t now_ns,
                                                    uint64_t *retry_after_ns)
{
    *retry_after_ns = 0;
    if (cb->state == FG_BREAKER_CLOSED)
        return FG_BREAKER_PASS;
    if (fg_subtract_floor(cb->open_until_ns, now_ns) > cb->open_now_ns)
        cb->open_until_ns = fg_add_saturating(now_ns, cb->open_now_ns); /* the clock went back */
    if (cb->state == FG_BREAKER_OPEN && now_ns >= cb->open_until_ns)
        set_state(cb, FG_BREAKER_HALF_OPEN, now_ns);
    if (cb->state == FG_BREAKER_OPEN) {
        *retry_after_ns = cb->open_until_ns - now_ns;
        cb->refused_total++;
        return FG_BREAKER_REFUSE;
    }
    if (cb->probes_in_flight >= cb->config.half_open_probes) {
        *retry_after_ns = cb->config.open_ns; /* by then the probes should have decided */
        cb->refused_total++;
        return FG_BREAKER_REFUSE;
    }
    cb->probes_in_flight++;
    cb->probes_total++;
    return FG_BREAKER_PROBE;
}

void fg_circuit_breaker_record(struct fg_circuit_breaker *cb, uint64_t now_ns, bool was_probe,
                               enum fg_breaker_outcome outcome)
{
    if (was_probe) {
        assert(cb->probes_in_flight > 0);
        cb->probes_in_flight--;
    }
    if (outcome == FG_BREAKER_CANCELLED)
        return;
    if (cb->state == FG_BREAKER_CLOSED)
        record_closed(cb, now_ns, outcome == FG_BREAKER_FAILURE);
    else if (cb->state == FG_BREAKER_HALF_OPEN && was_probe)
        record_half_open(cb, now_ns, outcome == FG_BREAKER_FAILURE);
    /* else: sent before it opened, and the breaker already knows better */
}

enum fg_breaker_state fg_circuit_breaker_state(const struct fg_circuit_breaker *cb, uint64_t now_ns)
{
    if (cb->state == FG_BREAKER_OPEN && now_ns >= cb->open_until_ns)
        return FG_BREAKER_HALF_OPEN;
    return cb->state;
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
