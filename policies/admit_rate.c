/*
 * admit_rate.c: how many people a second a waiting room lets in, found out from what the backend
 * behind it gets done.
 * Job      keep the backend full, with next to nothing before it: the line is where people wait.
 * Thread   one owner at a time. Memory: the struct.
 * Never    needs a number from its operator; shuts for good: FLOOR people a second are always let
 *          in, or it would never learn that the backend is well again.
 * Source   BBR (Cardwell et al., ACM Queue 2016): what comes out of a full bottleneck is its rate,
 *          however much goes in; AIMD as in RFC 5681 for the search.
 * Law      full (all slots taken, somebody waits, or was refused):
 *              drain  = mean of completions a second while full. A higher one weighs 3/10; a lower
 *                       one as much only with a backlog, else 1/20: not full all of the second
 *              need   = completions / people who came in, over the last ten steps or so, at least 1
 *              rate   = (0.95 drain - backlog / 20 s) / need, at least a tenth of drain / need
 *            backlog: those who wait for a slot, and those who found none and come back with
 *            their place, beyond 50 ms of drain. Full without one is where it should be: the rate
 *            does not fall.
 *          full, and drain not measured yet: the door is held until it is
 *          not full, and people wait: rate x 1.5, but no more than 8/10 of slots / service time
 *            (Little's law) or, as long as it has not been full, than twice those who come in;
 *            beyond that x 1.02
 *          Who is let in comes when the phone asks again, up to 20 s later: load that cannot be
 *          seen yet. So what answers to the backlog takes longer than that, or it would swing.
 *          shut: half, each step. Pressed (the process itself sheds): seven tenths.
 */
#include "policies/admit_rate.h"

#include "policies/time_units.h"

#define FLOOR_PER_S 0.1
#define CEILING_PER_S 1e9
#define DRAIN_WEIGHT 0.3
#define DRAIN_WEIGHT_UNSURE 0.05
#define DRAIN_DONE 8.0  /* so many completions are a measurement, */
#define DRAIN_S 10.0    /* or what there was in so long */
#define FADE 0.9        /* of what need is made of, a step */
#define BACKLOG_S 0.05  /* of drain may wait */
#define HORIZON_S 20.0  /* what is too much is worked off in so long */
#define LEAST_SHARE 0.1 /* of drain, while it is */
#define GROWTH_FAST 1.5
#define GROWTH_SLOW 1.02
#define BEARS_SHARE 0.8
#define FULL_SHARE 0.95 /* of drain, whose largest seconds weigh most */
#define SHUT_SHARE 0.5
#define PRESSED_SHARE 0.7

static double between(double least, double value, double most)
{
    return value < least ? least : value > most ? most : value;
}

void fg_admit_rate_init(struct fg_admit_rate *rate, uint32_t slots, uint64_t now_ns)
{
    *rate =
        (struct fg_admit_rate){.per_s = slots == 0 ? 1 : slots, .need = 1, .updated_ns = now_ns};
    rate->first_per_s = rate->per_s;
}

/* NaN is in no range. */
static bool is_in(double value, double least, double most)
{
    return value >= least && value <= most;
}

bool fg_admit_rate_resume(struct fg_admit_rate *rate, const struct fg_admit_rate *learned,
                          uint64_t now_ns)
{
    if (!is_in(learned->per_s, FLOOR_PER_S, CEILING_PER_S) ||
        !is_in(learned->first_per_s, 1, CEILING_PER_S) ||
        !is_in(learned->drain_per_s, 0, CEILING_PER_S) || !is_in(learned->need, 1, CEILING_PER_S) ||
        !is_in(learned->came_per_s, 0, CEILING_PER_S) ||
        !is_in(learned->done_sum, 0, CEILING_PER_S) || !is_in(learned->came_sum, 0, CEILING_PER_S))
        return false;
    *rate = *learned;
    rate->updated_ns = now_ns;
    rate->full_s = rate->full_done = 0;
    return true;
}

static void measure_need(struct fg_admit_rate *rate, const struct fg_admit_sample *sample,
                         double seconds)
{
    rate->done_sum = FADE * rate->done_sum + (double)sample->done;
    rate->came_sum = FADE * rate->came_sum + (double)sample->came;
    rate->came_per_s += DRAIN_WEIGHT * ((double)sample->came / seconds - rate->came_per_s);
    rate->need = 1; /* the one that a person came in with */
    if (rate->came_sum >= 1 && rate->done_sum > rate->came_sum)
        rate->need = rate->done_sum / rate->came_sum;
}

/* Those who wait for a slot, or will be back in a second to ask for one, beyond what should. */
static double backlog_of(const struct fg_admit_rate *rate, const struct fg_admit_sample *sample)
{
    return (double)sample->queued + (double)sample->refused - BACKLOG_S * rate->drain_per_s;
}

static void measure_drain(struct fg_admit_rate *rate, const struct fg_admit_sample *sample,
                          double seconds)
{
    rate->full_s += seconds;
    rate->full_done += (double)sample->done;
    if (rate->full_done < DRAIN_DONE && rate->full_s < DRAIN_S)
        return;
    double apart = rate->full_done / rate->full_s - rate->drain_per_s;
    bool is_sure = apart > 0 || backlog_of(rate, sample) > 0;
    rate->drain_per_s +=
        rate->drain_per_s <= 0 ? apart : (is_sure ? DRAIN_WEIGHT : DRAIN_WEIGHT_UNSURE) * apart;
    rate->full_s = rate->full_done = 0;
}

/* The backend is full: what it gets done, less what waits before it. */
static double follow_drain(const struct fg_admit_rate *rate, const struct fg_admit_sample *sample)
{
    double drain = rate->drain_per_s;
    if (drain <= 0)
        return 0; /* hold the door */
    double backlog = backlog_of(rate, sample);
    double goal = FULL_SHARE * drain - (backlog > 0 ? backlog / HORIZON_S : 0);
    goal = between(LEAST_SHARE * drain, goal, drain) / rate->need;
    return backlog <= 0 && goal < rate->per_s ? rate->per_s : goal;
}

/* There is room: more; fast as far as the backend must bear it, slowly beyond. */
static double grow(const struct fg_admit_rate *rate, const struct fg_admit_sample *sample)
{
    if (!sample->has_line)
        return rate->per_s;
    double seconds = (double)sample->service_ns / (double)FG_POLICY_S;
    double bears = seconds <= 0 ? 0 : BEARS_SHARE * sample->limit / seconds / rate->need;
    double fast = rate->per_s * GROWTH_FAST, slow = rate->per_s * GROWTH_SLOW;
    double most = 2 * rate->came_per_s + rate->first_per_s;
    if (fast <= bears || (!rate->has_been_full && fast <= most))
        return fast;
    if (bears > slow)
        return bears;
    return slow <= most ? slow : rate->per_s;
}

double fg_admit_rate_step(struct fg_admit_rate *rate, uint64_t now_ns,
                          const struct fg_admit_sample *sample)
{
    if (now_ns <= rate->updated_ns)
        return rate->per_s;
    double seconds = (double)(now_ns - rate->updated_ns) / (double)FG_POLICY_S;
    bool is_full = sample->in_flight >= sample->limit || sample->queued > 0 || sample->refused > 0;
    double next;
    rate->updated_ns = now_ns;
    measure_need(rate, sample, seconds);
    if (is_full)
        measure_drain(rate, sample, seconds);
    else
        rate->full_s = rate->full_done = 0;
    if (sample->is_shut)
        next = SHUT_SHARE * rate->per_s;
    else if (sample->is_pressed)
        next = PRESSED_SHARE * rate->per_s;
    else
        next = is_full ? follow_drain(rate, sample) : grow(rate, sample);
    rate->has_been_full = rate->has_been_full || is_full;
    rate->per_s = between(FLOOR_PER_S, next, CEILING_PER_S);
    return rate->per_s;
}

uint64_t fg_admit_rate_amount(double per_s)
{
    return (uint64_t)(per_s * (double)FG_ADMIT_RATE_PERIOD_NS / (double)FG_POLICY_S + 0.5);
}

uint64_t fg_admit_rate_burst(double per_s)
{
    return per_s < 1 ? 1 : (uint64_t)per_s;
}
