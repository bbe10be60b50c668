/*
 * balance.c: levels by priority and health, then round robin, two choices or a hash.
 * Job      share requests out by weight; move on to the next priority when healthy hosts are too
 *          few; use all hosts when too few are healthy anywhere, since the rest would fall next.
 * Thread   one owner at a time.
 * Never    returns a host that was tried, or asks for a pause, while there is another one.
 * Source   round robin: nginx, ngx_http_upstream_get_peer (smooth). Two choices: Mitzenmacher, "The
 *          Power of Two Choices", IEEE TPDS 2001. Bounded load: Mirrokni, Thorup, Zadimoghaddam,
 *          "Consistent Hashing with Bounded Loads", SODA 2018. Levels and panic: Envoy's priority
 *          levels (healthy share x 1.4, the rest spills over).
 * Law      level load = min(what is left, min(1, healthy / all x overprovision) / sum of the same);
 *          host load (hash) <= (in flight + 1) x factor x weight / sum of weights.
 *          two choices: drawn by weight, then the smaller in flight / weight.
 *          Slow start: weight x max(1/10, age / window).
 */
#include "policies/balance.h"

#include "policies/wide_math.h"

#include <assert.h>

#define WEIGHT_SCALE 1000u /* a weight of 1 in full; slow start takes from it */
#define SLOW_START_LEAST 100u
#define DRAWS 4u /* random pairs before all are looked at */

static bool is_tried(const struct fg_balance_ask *ask, size_t index)
{
    for (size_t i = 0; i < ask->tried_count; i++) {
        if (ask->tried[i] == index)
            return true;
    }
    return false;
}

/* Not tried before, and not resting after a failed connect. */
static bool is_fit(const struct fg_balance_host *host, const struct fg_balance_ask *ask,
                   size_t index)
{
    return host->not_before_ns <= ask->now_ns && !is_tried(ask, index);
}

static uint64_t weight_now(const struct fg_balance *balance, const struct fg_balance_host *host,
                           uint64_t now_ns)
{
    uint64_t window_ns = balance->conf.slow_start_ns;
    uint64_t full = (uint64_t)host->weight * WEIGHT_SCALE;
    if (window_ns == 0 || host->healthy_since_ns == 0)
        return full;
    uint64_t age_ns = now_ns > host->healthy_since_ns ? now_ns - host->healthy_since_ns : 0;
    if (age_ns >= window_ns)
        return full;
    uint64_t share = age_ns / (window_ns / WEIGHT_SCALE + 1);
    if (share < SLOW_START_LEAST)
        share = SLOW_START_LEAST;
    return host->weight * share;
}

/* ---- levels ---- */

struct level_sum {
    uint64_t weight;
    uint64_t healthy_weight;
    uint32_t count;
    uint32_t healthy_count;
};

static uint32_t level_availability(const struct fg_balance *balance, const struct level_sum *sum)
{
    if (sum->weight == 0)
        return 0;
    uint64_t permille = sum->healthy_weight * balance->conf.overprovision_permille / sum->weight;
    return permille > 1000 ? 1000 : (uint32_t)permille;
}

/* May it be chosen while its level is as it is? */
static bool is_usable(const struct fg_balance_host *host, const struct fg_balance_level *level)
{
    return !host->is_out && (host->is_healthy || level->is_panic);
}

static void share_load(struct fg_balance *balance, const struct level_sum sums[FG_BALANCE_LEVELS])
{
    uint32_t total = 0;
    uint32_t left = 1000;
    size_t first = FG_BALANCE_LEVELS;
    for (size_t l = 0; l < FG_BALANCE_LEVELS; l++) {
        total += level_availability(balance, &sums[l]);
        if (first == FG_BALANCE_LEVELS && sums[l].count > 0)
            first = l;
    }
    bool is_short = total < 1000;
    for (size_t l = 0; l < FG_BALANCE_LEVELS; l++) {
        struct fg_balance_level *level = &balance->levels[l];
        uint32_t load = level_availability(balance, &sums[l]);
        if (is_short && total > 0)
            load = (load * 1000 + total - 1) / total;
        level->load_permille = load < left ? load : left;
        left -= level->load_permille;
        level->is_panic = is_short && sums[l].count > 0 &&
                          (uint64_t)sums[l].healthy_count * 1000 <
                              (uint64_t)sums[l].count * balance->conf.panic_permille;
    }
    if (total == 0 && first < FG_BALANCE_LEVELS) {
        balance->levels[first].load_permille = 1000;
        balance->levels[first].is_panic = true; /* nobody is healthy: any answer is better */
    }
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void list_usable(struct fg_balance *balance)
{
    uint32_t at = 0;
    for (uint32_t l = 0; l < FG_BALANCE_LEVELS; l++) {
        struct fg_balance_level *level = &balance->levels[l];
        level->begin = at;
        level->usable_weight = 0;
        level->is_even = true;
        level->even_from_ns = 0;
        for (size_t i = 0; i < balance->host_count; i++) {
            const struct fg_balance_host *host = &balance->hosts[i];
            if (host->priority != l || !is_usable(host, level))
                continue;
            balance->order[at++] = (uint16_t)i;
            level->usable_weight += host->weight;
            level->is_even &= host->weight == balance->hosts[balance->order[level->begin]].weight;
            if (balance->conf.slow_start_ns > 0 && host->healthy_since_ns > 0)
                level->even_from_ns =
                    later(level->even_from_ns,
                          fg_add_saturating(host->healthy_since_ns, balance->conf.slow_start_ns));
        }
        level->usable_count = at - level->begin;
    }
}

void fg_balance_refresh(struct fg_balance *balance)
{
    struct level_sum sums[FG_BALANCE_LEVELS] = {{0}};
    for (size_t i = 0; i < balance->host_count; i++) {
        const struct fg_balance_host *host = &balance->hosts[i];
        struct level_sum *sum = &sums[host->priority];
        if (host->is_out)
            continue;
        sum->weight += host->weight;
        sum->count++;
        if (host->is_healthy) {
            sum->healthy_weight += host->weight;
            sum->healthy_count++;
        }
    }
    share_load(balance, sums);
    list_usable(balance);
}

void fg_balance_init(struct fg_balance *balance, const struct fg_balance_conf *conf,
                     struct fg_balance_host *hosts, size_t host_count, uint16_t *order,
                     uint16_t *slots, struct fg_maglev_host *scratch)
{
    assert(host_count < UINT16_MAX);
    *balance = (struct fg_balance){
        .conf = *conf, .hosts = hosts, .host_count = host_count, .order = order};
    for (size_t i = 0; i < host_count; i++) {
        assert(hosts[i].weight > 0 && hosts[i].priority < FG_BALANCE_LEVELS);
        balance->in_flight += hosts[i].in_flight;
    }
    if (conf->kind == FG_BALANCE_HASH && host_count > 0) {
        for (size_t i = 0; i < host_count; i++)
            scratch[i] =
                (struct fg_maglev_host){.hash = hosts[i].name_hash, .weight = hosts[i].weight};
        fg_maglev_build(&balance->maglev, slots, fg_maglev_slot_count(host_count), scratch,
                        host_count);
    }
    fg_balance_refresh(balance);
}

/* ---- within a level ---- */

static size_t pick_round_robin(struct fg_balance *balance, const struct fg_balance_level *level,
                               const struct fg_balance_ask *ask)
{
    struct fg_balance_host *best = NULL;
    int64_t total = 0;
    for (uint32_t i = 0; i < level->usable_count; i++) {
        size_t index = balance->order[level->begin + i];
        struct fg_balance_host *host = &balance->hosts[index];
        if (!is_fit(host, ask, index))
            continue;
        int64_t weight = (int64_t)weight_now(balance, host, ask->now_ns);
        host->turn += weight;
        total += weight;
        if (best == NULL || host->turn > best->turn)
            best = host;
    }
    if (best == NULL)
        return FG_BALANCE_NONE;
    best->turn -= total;
    return (size_t)(best - balance->hosts);
}

/* Would `a` be less loaded for its weight than `b` with one request more? */
static bool is_less_loaded(const struct fg_balance *balance, size_t a, size_t b, uint64_t now_ns)
{
    const struct fg_balance_host *one = &balance->hosts[a];
    const struct fg_balance_host *other = &balance->hosts[b];
    return (one->in_flight + UINT64_C(1)) * weight_now(balance, other, now_ns) <
           (other->in_flight + UINT64_C(1)) * weight_now(balance, one, now_ns);
}

/* Is it more loaded for its weight, as it is? */
static bool is_busier(const struct fg_balance *balance, size_t a, size_t b, uint64_t now_ns)
{
    const struct fg_balance_host *one = &balance->hosts[a];
    const struct fg_balance_host *other = &balance->hosts[b];
    return one->in_flight * weight_now(balance, other, now_ns) >
           other->in_flight * weight_now(balance, one, now_ns);
}

static size_t pick_least_loaded(const struct fg_balance *balance,
                                const struct fg_balance_level *level,
                                const struct fg_balance_ask *ask)
{
    size_t best = FG_BALANCE_NONE;
    for (uint32_t i = 0; i < level->usable_count; i++) {
        size_t index = balance->order[level->begin + i];
        if (is_fit(&balance->hosts[index], ask, index) &&
            (best == FG_BALANCE_NONE || is_less_loaded(balance, index, best, ask->now_ns)))
            best = index;
    }
    return best;
}

/* 40 bits of it; the lower ones of such a sequence are not as good. */
static uint64_t next_random(uint64_t *random)
{
    *random = *random * UINT64_C(0xd1342543de82ef95) + 1;
    return *random >> 24;
}

/* A place in the level's order by chance, as likely as its host's weight; never `except`. */
static uint32_t draw(const struct fg_balance *balance, const struct fg_balance_level *level,
                     uint64_t now_ns, uint64_t random, uint32_t except)
{
    const uint16_t *order = &balance->order[level->begin];
    uint32_t count = level->usable_count;
    if (level->is_even && now_ns >= level->even_from_ns) {
        uint32_t at = (uint32_t)(random % (except < count ? count - 1 : count));
        return at + (at >= except);
    }
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += i == except ? 0 : weight_now(balance, &balance->hosts[order[i]], now_ns);
    uint64_t left = random % total;
    for (uint32_t i = 0;; i++) {
        assert(i < count);
        uint64_t weight = i == except ? 0 : weight_now(balance, &balance->hosts[order[i]], now_ns);
        if (left < weight)
            return i;
        left -= weight;
    }
}

/* Weights decide who is drawn: the light ones have their share also where nobody is busy. */
static size_t pick_of_two(const struct fg_balance *balance, const struct fg_balance_level *level,
                          const struct fg_balance_ask *ask)
{
    uint64_t random = ask->random;
    for (unsigned i = 0; i < DRAWS && level->usable_count > 1; i++) {
        uint32_t first = draw(balance, level, ask->now_ns, next_random(&random), UINT32_MAX);
        uint32_t second = draw(balance, level, ask->now_ns, next_random(&random), first);
        size_t a = balance->order[level->begin + first];
        size_t b = balance->order[level->begin + second];
        bool is_a_fit = is_fit(&balance->hosts[a], ask, a);
        bool is_b_fit = is_fit(&balance->hosts[b], ask, b);
        if (is_a_fit && is_b_fit)
            return is_busier(balance, a, b, ask->now_ns) ? b : a;
        if (is_a_fit || is_b_fit)
            return is_a_fit ? a : b;
    }
    return pick_least_loaded(balance, level, ask);
}

/* May the host take one more, as far as the bound on its load goes? */
static bool has_room(const struct fg_balance *balance, const struct fg_balance_host *host,
                     uint64_t weight_sum)
{
    if (balance->conf.hash_load_permille == 0)
        return true;
    uint64_t bound = (balance->in_flight + 1) * balance->conf.hash_load_permille * host->weight;
    uint64_t unit = weight_sum * 1000;
    return host->in_flight < bound / unit + (bound % unit != 0);
}

static size_t pick_by_hash(const struct fg_balance *balance, const struct fg_balance_level *level,
                           const struct fg_balance_ask *ask)
{
    const struct fg_maglev *maglev = &balance->maglev;
    uint32_t slot = fg_maglev_slot(maglev, ask->has_key ? ask->key_hash : ask->random);
    uint32_t level_index = (uint32_t)(level - balance->levels);
    for (uint32_t step = 0; step < maglev->slot_count; step++) {
        size_t index = maglev->slots[slot];
        const struct fg_balance_host *host = &balance->hosts[index];
        if (host->priority == level_index && is_usable(host, level) && is_fit(host, ask, index) &&
            has_room(balance, host, level->usable_weight))
            return index;
        slot = slot + 1 == maglev->slot_count ? 0 : slot + 1;
    }
    return pick_least_loaded(balance, level, ask);
}

/* ---- the choice ---- */

static size_t pick_in(struct fg_balance *balance, struct fg_balance_level *level,
                      const struct fg_balance_ask *ask)
{
    if (level->usable_count == 0)
        return FG_BALANCE_NONE;
    size_t index = FG_BALANCE_NONE;
    switch (balance->conf.kind) {
    case FG_BALANCE_ROUND_ROBIN:
        index = pick_round_robin(balance, level, ask);
        break;
    case FG_BALANCE_LEAST_REQUEST:
        index = pick_of_two(balance, level, ask);
        break;
    case FG_BALANCE_HASH:
        index = pick_by_hash(balance, level, ask);
        break;
    }
    if (index != FG_BALANCE_NONE && level->is_panic)
        balance->panic_total++;
    return index;
}

/* A key keeps its level; others are spread over the levels by chance. */
static size_t choose_level(const struct fg_balance *balance, const struct fg_balance_ask *ask)
{
    uint64_t draw = balance->conf.kind == FG_BALANCE_HASH && ask->has_key
                        ? ask->key_hash * UINT64_C(0x9e3779b97f4a7c15) >> 40
                        : ask->random >> 40;
    uint32_t at = (uint32_t)(draw % 1000);
    for (size_t l = 0; l < FG_BALANCE_LEVELS; l++) {
        if (at < balance->levels[l].load_permille)
            return l;
        at -= balance->levels[l].load_permille;
    }
    return 0;
}

/* All are tried or resting: the usable one that rests least, untried before tried. */
static size_t pick_soonest(const struct fg_balance *balance, const struct fg_balance_ask *ask)
{
    size_t best = FG_BALANCE_NONE;
    bool is_best_tried = false;
    for (size_t i = 0; i < balance->host_count; i++) {
        const struct fg_balance_host *host = &balance->hosts[i];
        const struct fg_balance_level *level = &balance->levels[host->priority];
        if (!is_usable(host, level))
            continue;
        bool tried = is_tried(ask, i);
        if (best == FG_BALANCE_NONE || (is_best_tried && !tried) ||
            (is_best_tried == tried && host->not_before_ns < balance->hosts[best].not_before_ns)) {
            best = i;
            is_best_tried = tried;
        }
    }
    return best;
}

size_t fg_balance_pick(struct fg_balance *balance, const struct fg_balance_ask *ask)
{
    if (balance->host_count == 0)
        return FG_BALANCE_NONE;
    size_t chosen = choose_level(balance, ask);
    size_t index = pick_in(balance, &balance->levels[chosen], ask);
    for (size_t l = 0; index == FG_BALANCE_NONE && l < FG_BALANCE_LEVELS; l++) {
        if (l != chosen)
            index = pick_in(balance, &balance->levels[l], ask);
    }
    return index != FG_BALANCE_NONE ? index : pick_soonest(balance, ask);
}
