/*
 * concurrency_ramp.c: what a concurrency limit learns beside its windows, of slow backends.
 * Job      raise the limit where nothing says that the backend is full; tell its owner until when
 *          those who wait would learn nothing.
 * Thread   one owner at a time.
 * Laws     windows need several answers a slot, and of a slow backend none has come when those who
 *          wait have to be refused: whoever knows nothing may not refuse. So
 *             held   while all slots are held and none is given back with a result, the limit is
 *                    raised: before any answer it is doubled each tenth of a second, later each
 *                    250 ms and four usual latencies; by a quarter once the slots were found. A
 *                    slot whose result is ignored (an upload's, whose client is slow) goes to the
 *                    next one and says nothing of whether the backend has room for both
 *             share  where those who are answered in a time, times what they take, are less than a
 *                    quarter of those in flight (Little's law), others hold the slots and do not
 *                    stand in the way: each answer as quick as the first ones adds a slot
 *             slow   at the start, where an answer takes a tenth of a second and more, each adds a
 *                    slot, as each ack does in TCP's slow start, until they take twice as long as
 *                    the first ones: then to the slots that they say are worked on
 *             crowd  there, too, where somebody waits for a quarter of a second, the limit is
 *                    doubled, once in the time that an answer takes, unless it is twice what was
 *                    seen to be worked on. A crowd that doubles does not wait for an answer
 *          What that lets in too many is what comes in one service time, and no more is asked for.
 */
#include "policies/concurrency_internal.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <math.h>

#define UNKNOWN_NS (100 * FG_POLICY_MS) /* all slots are held for so long, before any answer, */
#define HELD_NS (250 * FG_POLICY_MS)    /* ... or so long, and so many usual latencies */
#define HELD_USUAL 4
#define HELD_MAX_NS (3600 * FG_POLICY_S)
#define HELD_GROWTH 1.25 /* of slots that were found: it may only be a pause */
#define HELD_SHARE 0.25  /* of those in flight have answers: others have the slots */
#define HELD_LEAST_NS (50 * FG_POLICY_MS) /* and longer than two answers: it is no chance */
#define SLOW_NS (100 * FG_POLICY_MS)      /* a window of such takes longer than anybody waits */
#define FIRST_ANSWERS 4                   /* say what one takes before the limit has grown */
#define USUAL_WEIGHT_INVERSE 8
#define RAMP_WAITING 2 /* times as long as those: they wait at the backend */
#define CROWD_LEAST 8  /* worked on at once: to double a few would cost much and serve few */
#define CROWD_BEYOND 2 /* times as many as those: what came before has not shown yet */

static bool is_adaptive(const struct fg_concurrency_limit *cl)
{
    return cl->config.mode != FG_CONCURRENCY_FIXED;
}

static void restart_ramp(struct fg_concurrency_limit *cl)
{
    cl->is_ramping = true;
    cl->first_sum_ns = 0;
    cl->first_count = 0;
    cl->busy_count = 0;
}

/* What an answer takes with few in flight, and how many come in a time: how many are worked on. */
static void note_answer(struct fg_concurrency_limit *cl, uint64_t now_ns, double latency_ns,
                        uint32_t in_flight)
{
    if (cl->usual_ns > 0 && latency_ns > FG_CONCURRENCY_OUTLIER * cl->usual_ns)
        latency_ns = FG_CONCURRENCY_OUTLIER * cl->usual_ns;
    double apart = latency_ns - cl->usual_ns;
    cl->usual_ns += cl->usual_ns > 0 ? apart / USUAL_WEIGHT_INVERSE : apart;
    if (2 * in_flight <= fg_concurrency_limit_current(cl)) {
        cl->first_sum_ns = FIRST_ANSWERS * cl->usual_ns;
        cl->first_count = FIRST_ANSWERS;
        cl->busy_count = 0;
    } else if (cl->first_count < FIRST_ANSWERS) {
        cl->first_sum_ns += latency_ns;
        cl->first_count++;
    }
    if (cl->busy_count == 0)
        cl->busy_since_ns = now_ns;
    cl->busy_count++;
}

/* How many were worked on at once for certain: so many answers came in the time that one takes. */
static void note_shown(struct fg_concurrency_limit *cl, uint64_t now_ns, double latency_ns)
{
    double first_ns = cl->first_count == 0 ? latency_ns : cl->first_sum_ns / cl->first_count;
    if (latency_ns > RAMP_WAITING * first_ns)
        return;
    if ((double)fg_subtract_floor(now_ns, cl->shown_since_ns) >= first_ns) {
        cl->shown_last = cl->shown_count;
        cl->shown_since_ns = now_ns;
        cl->shown_count = 0;
    }
    cl->shown_count++;
}

static uint64_t held_max_ns(const struct fg_concurrency_limit *cl)
{
    if (cl->usual_ns <= 0)
        return UNKNOWN_NS;
    return (uint64_t)fg_concurrency_clamp(HELD_USUAL * cl->usual_ns, HELD_NS, HELD_MAX_NS);
}

/* The effect of the last raise is waited for, too. */
static uint64_t quiet_since_ns(const struct fg_concurrency_limit *cl)
{
    return cl->grown_at_ns > cl->held_since_ns ? cl->grown_at_ns : cl->held_since_ns;
}

static uint64_t held_until_ns(const struct fg_concurrency_limit *cl)
{
    return fg_add_saturating(quiet_since_ns(cl), held_max_ns(cl));
}

/* Somebody waits, and no slot comes back with a result, for so long. */
static bool note_held(struct fg_concurrency_limit *cl, uint64_t now_ns)
{
    if (cl->held_since_ns == 0 || cl->held_results != cl->results_total ||
        now_ns < cl->held_since_ns) {
        cl->held_since_ns = now_ns == 0 ? 1 : now_ns;
        cl->held_results = cl->results_total;
        cl->held_released = cl->released_total;
        return false;
    }
    return now_ns >= held_until_ns(cl);
}

/*
 * When those who wait have the limit doubled: answers are slow, and as quick as the first ones, and
 * the limit is about as many as have been seen to be worked on.
 */
static uint64_t crowd_until_ns(const struct fg_concurrency_limit *cl)
{
    double shown = cl->shown_last > cl->shown_count ? cl->shown_last : cl->shown_count;
    bool is_shown = shown >= CROWD_LEAST && cl->limit < CROWD_BEYOND * shown;
    bool is_by_latency = cl->config.mode != FG_CONCURRENCY_AIMD;
    bool is_unfound = is_by_latency && cl->is_starting && cl->is_ramping;
    bool is_slow = cl->usual_ns >= SLOW_NS;
    bool is_quick = cl->usual_ns * cl->first_count <= RAMP_WAITING * cl->first_sum_ns;
    if (!is_unfound || !is_slow || !is_quick || !is_shown || cl->waited_since_ns == 0)
        return FG_POLICY_NEVER;
    uint64_t wait_ns = fg_add_saturating(cl->waited_since_ns, HELD_NS);
    uint64_t next_ns = fg_add_saturating(cl->grown_at_ns, (uint64_t)cl->usual_ns);
    return cl->grown_at_ns == 0 || next_ns < wait_ns ? wait_ns : next_ns;
}

static void restart_share(struct fg_concurrency_limit *cl, uint64_t now_ns)
{
    cl->share_since_ns = now_ns;
    cl->share_count = 0;
    cl->share_in_flight_sum = 0;
}

/* Little's law: so many come in a time, of which each takes so long, and so many are in flight. */
static void note_share(struct fg_concurrency_limit *cl, uint64_t now_ns, uint32_t in_flight)
{
    uint64_t passed_ns = fg_subtract_floor(now_ns, cl->share_since_ns);
    if (cl->share_since_ns == 0 || in_flight < fg_concurrency_limit_current(cl)) {
        cl->is_much_held = false; /* not known, or there are slots for others */
        restart_share(cl, now_ns);
        return;
    }
    cl->share_count++;
    cl->share_in_flight_sum += in_flight;
    if (passed_ns < held_max_ns(cl))
        return;
    double answered = cl->usual_ns * cl->share_count * cl->share_count;
    cl->is_much_held = answered < HELD_SHARE * (double)passed_ns * (double)cl->share_in_flight_sum;
    restart_share(cl, now_ns);
}

/* A slot more for each answer that is as quick as the first ones, until they are not. */
static void ramp(struct fg_concurrency_limit *cl, uint64_t now_ns, double latency_ns,
                 uint32_t in_flight)
{
    bool is_full = cl->was_limited && in_flight >= fg_concurrency_limit_current(cl);
    bool is_by_latency = cl->config.mode != FG_CONCURRENCY_AIMD;
    if (!is_by_latency || !is_full)
        return;
    double first_ns = cl->first_sum_ns / cl->first_count;
    bool is_quick = latency_ns <= RAMP_WAITING * first_ns;
    if (cl->usual_ns < SLOW_NS) {
        if (cl->is_much_held && is_quick)
            fg_concurrency_set_limit(cl, cl->limit + 1);
        return;
    }
    if (!cl->is_ramping || !cl->is_starting)
        return;
    uint64_t passed_ns = fg_subtract_floor(now_ns, cl->busy_since_ns);
    if (cl->first_count == FIRST_ANSWERS && cl->usual_ns > RAMP_WAITING * first_ns &&
        passed_ns > 0) {
        double worked_on = first_ns * (cl->busy_count - 1) / (double)passed_ns;
        fg_concurrency_set_limit(cl, fmin(fmax(worked_on, cl->config.limit_initial), cl->limit));
        cl->is_ramping = false;
        fg_concurrency_wait_for_effect(cl);
    } else if (is_quick) {
        fg_concurrency_set_limit(cl, cl->limit + 1);
        fg_concurrency_wait_for_effect(cl);
    }
}

void fg_concurrency_ramp_note_answer(struct fg_concurrency_limit *cl, uint64_t now_ns,
                                     double latency_ns, uint32_t in_flight)
{
    note_answer(cl, now_ns, latency_ns, in_flight);
    note_shown(cl, now_ns, latency_ns);
    note_share(cl, now_ns, in_flight);
    ramp(cl, now_ns, latency_ns, in_flight);
}

void fg_concurrency_limit_note_spare(struct fg_concurrency_limit *cl)
{
    cl->held_since_ns = 0;
    cl->waited_since_ns = 0;
}

bool fg_concurrency_limit_note_wait(struct fg_concurrency_limit *cl, uint64_t now_ns)
{
    if (!is_adaptive(cl) || cl->limit >= cl->config.limit_max)
        return false;
    if (cl->waited_since_ns == 0 || now_ns < cl->waited_since_ns)
        cl->waited_since_ns = now_ns == 0 ? 1 : now_ns;
    if (now_ns < cl->grown_at_ns)
        cl->grown_at_ns = 0; /* the clock went back */
    bool is_long_held = note_held(cl, now_ns);
    if (!is_long_held && now_ns < crowd_until_ns(cl))
        return false;
    double growth = cl->is_starting ? FG_CONCURRENCY_START_GROWTH : HELD_GROWTH;
    fg_concurrency_set_limit(cl, fmax(cl->limit * growth, cl->limit + 1));
    cl->grown_at_ns = now_ns == 0 ? 1 : now_ns;
    if (is_long_held)
        restart_ramp(cl);
    fg_concurrency_wait_for_effect(cl);
    return true;
}

uint64_t fg_concurrency_limit_held_until_ns(const struct fg_concurrency_limit *cl)
{
    if (!is_adaptive(cl) || cl->limit >= cl->config.limit_max || cl->held_since_ns == 0)
        return FG_POLICY_NEVER;
    uint64_t held_ns = held_until_ns(cl);
    uint64_t crowd_ns = crowd_until_ns(cl);
    return crowd_ns < held_ns ? crowd_ns : held_ns;
}

bool fg_concurrency_limit_is_held(const struct fg_concurrency_limit *cl, uint64_t now_ns)
{
    if (!is_adaptive(cl) || cl->held_since_ns == 0)
        return false;
    if (cl->limit < cl->config.limit_max &&
        crowd_until_ns(cl) <= fg_add_saturating(now_ns, HELD_NS))
        return true;
    if (cl->held_results != cl->results_total)
        return false;
    /* The pace at which slots go from hand to hand is their clients', whatever the limit. */
    bool was_handed_on = cl->released_total != cl->held_released;
    uint64_t since_ns = was_handed_on ? cl->held_since_ns : quiet_since_ns(cl);
    double held_ns = (double)fg_subtract_floor(now_ns, since_ns);
    return held_ns >= fmax(HELD_LEAST_NS, 2 * cl->usual_ns);
}
