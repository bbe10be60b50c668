/*
 * admission_level.c: down to which priority requests may still wait while a backend is overloaded.
 * Job      refuse those who would wait in vain when they come, not after they have waited, and the
 *          same users each time: the level is a number of policies/priority.
 * Thread   one owner at a time.
 * Never    refuses anybody for whom a slot is free (the caller asks only for those who would have
 *          to wait), nor all: of the group in which the level falls a share may wait, so that the
 *          law holds also when users cannot be told apart.
 * Source   DAGOR: Zhou et al., "Overload Control for Scaling WeChat Microservices" (SoCC 2018),
 *          sections 4.1 and 4.2: overload by mean queuing time, a histogram of (business, user)
 *          priorities, the level at the prefix sum that meets the wanted number.
 * Law      overload = mean wait > target in this window and the one before, and more came since
 *          than was served (policies/standing): a burst that drains is none; then the level is
 *          lowered to let served x (1 + spare - (mean wait - target) / window) of the arrivals in;
 *          else it is raised to let in what it does and min(open x arrived, spare x served) more.
 *          Arrived and served are those of some eight windows, fading: of one alone they are
 *          chance. Windows of 100 ms or 2000 arrivals, and no shorter than the backend's service
 *          time: slots that come free all at once, as those of an even backend do, would make one
 *          window look idle and the next one look fast.
 *          Who asks for more than his part of all (policies/askers), over the same time, has a
 *          worse number of his class, from PART_CROWD on the worst: a flood is refused before its
 *          neighbours whatever their lots, also while most of it is refused at once and does not
 *          wait. Of a flood by many nobody has much of all: who is heavy (the same) has one of the
 *          last HEAVY_LOTS numbers, by his lot, and nobody else has.
 * Departs  DAGOR lowers by 5 % a second of what was admitted, which takes a minute for a tenfold
 *          flood. What the backend served is known here, so the level goes there at once.
 */
#include "policies/admission_level.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define LEVEL_ALL (FG_PRIORITY_COMPOUND_COUNT - 1)
#define WINDOWS_REMEMBERED 10
#define UNIT 16u              /* what is counted fades in parts of one */
#define BACKLOG_SHARE_MAX 0.5 /* one window's mean wait may be far off */
#define KEPT_SHARE_MIN 0.5
#define PART_CROWD 4u     /* who asks for one in so many of all is all crowd */
#define ASKERS_WINDOWS 4u /* who asks is remembered for so many times as long as how many ask */
#define HEAVY_LOTS 4u     /* the worst of a class, for who asks for much; all lots in their order */

struct fg_admission_level_config fg_admission_level_config_default(void)
{
    return (struct fg_admission_level_config){
        .window_ns = 100 * FG_POLICY_MS,
        .window_count = 2000,
        .target_ns = 18 * FG_POLICY_MS,
        .spare_permille = 50,
        .open_permille = 10,
    };
}

static void start_window(struct fg_admission_level *al, uint64_t now_ns)
{
    al->window_started_ns = now_ns;
    al->arrived = 0;
    al->allowed = 0;
    al->served = 0;
    al->waited = 0;
    al->wait_sum_ns = 0;
    al->was_free = false;
}

static void forget(struct fg_admission_level *al)
{
    al->known_served = 0;
    al->known_arrived = 0;
    memset(al->by_number, 0, sizeof(al->by_number));
    al->askers = (struct fg_askers){0};
    al->has_heavy = false;
    al->was_late = false;
    al->standing = (struct fg_standing){0};
}

/* One window is few requests, and chance: those before it count, too, less and less. */
static void fade(struct fg_admission_level *al)
{
    al->known_arrived = 0;
    for (uint32_t number = 0; number <= LEVEL_ALL; number++) {
        al->by_number[number] = (uint32_t)fg_askers_faded(al->by_number[number]);
        al->known_arrived += al->by_number[number];
    }
    al->known_served = fg_askers_faded(al->known_served);
    if (++al->windows % ASKERS_WINDOWS == 0)
        fg_askers_fade(&al->askers);
}

/* Where a level stands between its neighbours: the number, and how many of those who have it. */
static double position(uint32_t level, double share)
{
    return level + share;
}

static void move_to(struct fg_admission_level *al, double wanted)
{
    al->level = (uint32_t)wanted;
    if (al->level >= LEVEL_ALL)
        al->level = LEVEL_ALL;
    al->share = wanted - al->level;
    if (al->share > 1)
        al->share = 1;
}

/* The lowest position at which `wanted` of those known would have been let in. */
static double position_for(const struct fg_admission_level *al, uint64_t wanted)
{
    uint64_t sum = 0;
    for (uint32_t number = 0; number < LEVEL_ALL && wanted < al->known_arrived; number++) {
        uint64_t count = al->by_number[number];
        if (sum + count > wanted)
            return position(number, (double)(wanted - sum) / (double)count);
        sum += count;
    }
    return position(LEVEL_ALL, 1);
}

/* Of those known, how many the level lets in now. */
static uint64_t let_in_now(const struct fg_admission_level *al)
{
    uint64_t sum = 0;
    for (uint32_t number = 0; number < al->level; number++)
        sum += al->by_number[number];
    return sum + (uint64_t)(al->share * al->by_number[al->level]);
}

static uint64_t part(uint64_t count, uint32_t permille)
{
    return fg_multiply_divide(count, permille, 1000);
}

/*
 * Which share of what is served is to be let in. Little's law: who waits beyond the target is what
 * is served in that much time. They take the places of newcomers, or the queue would stay as long
 * as the first window left it.
 */
static double wanted_share(const struct fg_admission_level *al, uint64_t window_ns)
{
    double excess_ns = al->wait_sum_ns / al->waited - (double)al->target_ns;
    double backlog = fmin(excess_ns / (double)window_ns, BACKLOG_SHARE_MAX);
    return 1 + al->config.spare_permille / 1000.0 - backlog;
}

/*
 * By what is known of arrivals. Within the group in which the level falls also by how many more
 * were let in than were wanted: a crowd's requests have its number or a worse one depending on how
 * many of them wait, and so on the share itself, and those known say little of those to come.
 */
static double lowered(const struct fg_admission_level *al, uint64_t window_ns)
{
    double wanted = wanted_share(al, window_ns);
    double lower = position_for(al, (uint64_t)(wanted * (double)al->known_served) + UNIT);
    double kept = al->allowed == 0 ? 1 : wanted * al->served / al->allowed;
    return fmin(lower, position(al->level, al->share * fmax(kept, KEPT_SHARE_MIN)));
}

/*
 * Who asks for much has other numbers from now on than are known of him, and so many are known that
 * it would take seconds until they are outweighed: those who are behind him meanwhile wait in vain.
 */
static void note_heavy(struct fg_admission_level *al)
{
    bool had_heavy = al->has_heavy;
    al->has_heavy = fg_askers_have_heavy(&al->askers);
    if (!al->has_heavy || had_heavy)
        return;
    memset(al->by_number, 0, sizeof(al->by_number));
    al->known_arrived = 0;
    al->known_served = 0;
    move_to(al, position(LEVEL_ALL, 1));
}

static void end_window(struct fg_admission_level *al, uint64_t window_ns)
{
    bool is_late = al->waited > 0 && al->wait_sum_ns > (double)al->target_ns * al->waited;
    al->standing.arrived = al->arrived;
    al->standing.served = al->served;
    if (!is_late && al->served >= al->arrived)
        al->standing.is_fed = false; /* half of what is known is forgotten */
    fg_standing_end_period(&al->standing, is_late && al->was_late && !al->was_free, false, 0);
    bool is_overloaded = is_late && al->standing.is_fed;
    al->was_late = is_late;
    double now = position(al->level, al->share);
    al->known_served += (uint64_t)al->served * UNIT;
    if (is_overloaded) {
        double lower = lowered(al, window_ns);
        if (lower < now) {
            move_to(al, lower);
            al->lowered_total++;
        }
    } else if (al->served >= al->arrived) {
        move_to(al, position(LEVEL_ALL, 1)); /* there was a slot for all that came */
    } else if (now < position(LEVEL_ALL, 1)) {
        uint64_t more = part(al->known_arrived, al->config.open_permille);
        uint64_t most = part(al->known_served, al->config.spare_permille);
        double higher = position_for(al, let_in_now(al) + (more < most ? more : most) + UNIT);
        if (higher > now)
            move_to(al, higher);
    }
    note_heavy(al);
    fade(al);
}

/* Of those in the group where the level falls every so manieth: evenly, and without a lot. */
static bool is_let_in(struct fg_admission_level *al, uint32_t compound)
{
    if (compound != al->level)
        return compound < al->level;
    al->share_left += al->share;
    if (al->share_left < 1)
        return false;
    al->share_left -= 1;
    return true;
}

void fg_admission_level_init(struct fg_admission_level *al,
                             const struct fg_admission_level_config *config, uint64_t now_ns)
{
    al->config = *config;
    al->target_ns = config->target_ns;
    al->window_ns = config->window_ns;
    al->window_least_ns = 0;
    move_to(al, position(LEVEL_ALL, 1));
    al->share_left = 0;
    al->refused_total = 0;
    al->lowered_total = 0;
    forget(al);
    start_window(al, now_ns);
}

void fg_admission_level_stretch(struct fg_admission_level *al, uint64_t service_ns,
                                uint64_t target_ns, uint64_t window_ns)
{
    al->target_ns = target_ns > al->config.target_ns ? target_ns : al->config.target_ns;
    al->window_ns = window_ns > al->config.window_ns ? window_ns : al->config.window_ns;
    al->window_least_ns = service_ns < al->window_ns ? service_ns : al->window_ns;
}

/* The lot that counts as his. */
static uint32_t lot_of(const struct fg_admission_level *al, uint64_t owner, uint32_t lot,
                       bool is_heavy)
{
    uint64_t excess = fg_askers_excess(&al->askers, owner);
    uint64_t asked = al->askers.asked;
    uint64_t worst = FG_PRIORITY_COHORT_COUNT - 1;
    uint64_t worse = excess == 0 ? 0
                                 : fg_multiply_divide(excess, FG_PRIORITY_COHORT_COUNT,
                                                      asked / PART_CROWD - asked / FG_ASKERS_PART);
    uint64_t for_part = worse < worst - lot ? lot + worse : worst;
    if (!fg_askers_have_heavy(&al->askers))
        return (uint32_t)for_part;
    const uint32_t first_heavy = FG_PRIORITY_COHORT_COUNT - HEAVY_LOTS;
    if (!is_heavy)
        return (uint32_t)(for_part < first_heavy ? for_part : first_heavy - 1);
    uint64_t among_heavy = first_heavy + lot / (FG_PRIORITY_COHORT_COUNT / HEAVY_LOTS);
    return (uint32_t)(for_part > among_heavy ? for_part : among_heavy);
}

uint32_t fg_admission_level_ask(struct fg_admission_level *al, uint64_t owner, uint32_t compound,
                                bool *is_heavy)
{
    uint32_t lot = compound % FG_PRIORITY_COHORT_COUNT;
    *is_heavy = fg_askers_is_heavy(&al->askers, owner);
    uint32_t number = compound - lot + lot_of(al, owner, lot, *is_heavy);
    if (al->config.window_ns != 0) /* or else nothing fades */
        fg_askers_note(&al->askers, owner);
    return number;
}

bool fg_admission_level_arrive(struct fg_admission_level *al, uint64_t now_ns, uint32_t compound)
{
    assert(compound < FG_PRIORITY_COMPOUND_COUNT);
    if (al->config.window_ns == 0)
        return true;
    if (now_ns < al->window_started_ns)
        start_window(al, now_ns); /* the clock went back */
    uint64_t elapsed_ns = now_ns - al->window_started_ns;
    if (elapsed_ns / WINDOWS_REMEMBERED >= al->window_ns) {
        move_to(al, position(LEVEL_ALL, 1)); /* nobody came for so long: that overload is over */
        forget(al);
        start_window(al, now_ns);
    } else if (elapsed_ns >= al->window_ns ||
               (al->arrived >= al->config.window_count && elapsed_ns >= al->window_least_ns)) {
        end_window(al, elapsed_ns);
        start_window(al, now_ns);
    }
    al->arrived++;
    al->by_number[compound] += UNIT;
    al->known_arrived += UNIT;
    if (!is_let_in(al, compound))
        return false;
    al->allowed++;
    return true;
}

void fg_admission_level_note_served(struct fg_admission_level *al)
{
    al->served++;
}

void fg_admission_level_note_wait(struct fg_admission_level *al, uint64_t wait_ns)
{
    al->was_free = al->was_free || wait_ns == 0;
    al->waited++;
    al->wait_sum_ns += (double)wait_ns;
}

uint32_t fg_admission_level_current(const struct fg_admission_level *al)
{
    return al->level;
}
