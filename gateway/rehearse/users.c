/*
 * users.c: the virtual users.
 */
#include "rehearse/users.h"

#include "policies/time_units.h"
#include "rehearse/chance.h"

#include <assert.h>
#include <stdlib.h>

#define NONE UINT32_MAX
#define USERS_FIRST 4096

enum user_state { USER_FREE, USER_THINKS, USER_ASKED };

struct user {
    uint64_t id;
    uint64_t due_ns;        /* of the try that is under way */
    uint64_t first_due_ns;  /* of the request's first try */
    uint64_t line_since_ns; /* 0: not in a waiting room */
    uint64_t ticket;
    uint32_t older; /* in the crowd's line of those who asked, by due time; free: next free */
    uint32_t newer;
    uint16_t crowd;
    uint16_t attempt; /* tries made of this request */
    uint16_t times;   /* how often this step was answered */
    uint8_t step;
    uint8_t state;
    bool has_ticket;
};

/* What a crowd needs beside its description. */
struct crowd {
    const struct fg_scenario_crowd *conf;
    struct fg_chance chance;
    size_t piece; /* of the arrivals: the point before now */
    uint64_t arrival_ns;
    uint64_t arrived;
    uint32_t oldest; /* of those who asked; NONE: nobody */
    uint32_t newest;
    bool is_patience_armed;
};

struct fg_users {
    const struct fg_scenario *scenario;
    const struct fg_config *config;
    struct fg_event_heap *heap;
    struct fg_tally *tally;
    struct fg_users_port port;
    struct user *users;
    uint32_t count; /* ever used at a time */
    uint32_t capacity;
    uint32_t free;
    uint64_t active;
    uint64_t next_id;
    uint64_t next_number;
    bool is_exhausted;
    struct crowd crowds[FG_SCENARIO_CROWDS_MAX];
};

/* ---- users in memory ---- */

static uint32_t take_user(struct fg_users *users)
{
    uint32_t index = users->free;
    if (index != NONE) {
        users->free = users->users[index].older;
        return index;
    }
    if (users->count == users->capacity) {
        uint32_t capacity = users->capacity == 0 ? USERS_FIRST : users->capacity * 2;
        struct user *grown = capacity > FG_EVENT_INDEX_MAX
                                 ? NULL
                                 : reallocarray(users->users, capacity, sizeof(*grown));
        if (grown == NULL) {
            users->is_exhausted = true;
            return NONE;
        }
        users->users = grown;
        users->capacity = capacity;
    }
    return users->count++;
}

static void let_go(struct fg_users *users, uint32_t index, bool is_finished)
{
    struct user *user = &users->users[index];
    struct fg_tally_crowd *crowd = &users->tally->crowds[user->crowd];
    if (is_finished)
        crowd->finished++;
    else
        crowd->left++;
    user->state = USER_FREE;
    user->older = users->free;
    users->free = index;
    users->active--;
}

/* ---- those who asked, in the order of their patience ---- */

static void line_up(struct fg_users *users, uint32_t index)
{
    struct user *user = &users->users[index];
    struct crowd *crowd = &users->crowds[user->crowd];
    user->older = crowd->newest;
    user->newer = NONE;
    if (crowd->newest == NONE)
        crowd->oldest = index;
    else
        users->users[crowd->newest].newer = index;
    crowd->newest = index;
    if (!crowd->is_patience_armed) {
        crowd->is_patience_armed = true;
        fg_event_heap_add(users->heap, user->due_ns + crowd->conf->patience_ns,
                          FG_USERS_OUT_OF_PATIENCE, user->crowd);
    }
}

static void step_out(struct fg_users *users, uint32_t index)
{
    struct user *user = &users->users[index];
    struct crowd *crowd = &users->crowds[user->crowd];
    if (user->older == NONE)
        crowd->oldest = user->newer;
    else
        users->users[user->older].newer = user->newer;
    if (user->newer == NONE)
        crowd->newest = user->older;
    else
        users->users[user->newer].older = user->older;
}

/* ---- the journey ---- */

static size_t route_index(const struct fg_users *users, const struct user *user)
{
    const struct fg_scenario_step *step = &users->crowds[user->crowd].conf->steps[user->step];
    return (size_t)(step->route - users->config->routes);
}

static void wake_after(struct fg_users *users, uint32_t index, uint64_t now_ns, uint64_t pause_ns)
{
    users->users[index].state = USER_THINKS;
    fg_event_heap_add(users->heap, now_ns + pause_ns, FG_USERS_WAKE, index);
}

static uint64_t draw_pause(struct fg_chance *chance, uint64_t mean_ns)
{
    return mean_ns == 0 ? 0 : fg_chance_as_ns(fg_chance_exponential(chance, (double)mean_ns));
}

/* On to the user's current step, over those whose share the user is not of; or home. */
static void begin_step(struct fg_users *users, uint32_t index, uint64_t now_ns)
{
    struct user *user = &users->users[index];
    struct crowd *crowd = &users->crowds[user->crowd];
    while (user->step < crowd->conf->step_count) {
        const struct fg_scenario_step *step = &crowd->conf->steps[user->step];
        if (user->times > 0 || fg_chance_permille(&crowd->chance, step->share_permille)) {
            user->attempt = 0;
            user->has_ticket = false;
            user->line_since_ns = 0;
            wake_after(users, index, now_ns, draw_pause(&crowd->chance, step->think_ns));
            return;
        }
        user->step++;
    }
    let_go(users, index, true);
}

static void ask(struct fg_users *users, uint32_t index, uint64_t due_ns)
{
    struct user *user = &users->users[index];
    struct crowd *crowd = &users->crowds[user->crowd];
    if (user->attempt == 0 && !user->has_ticket)
        user->first_due_ns = due_ns;
    user->due_ns = due_ns;
    user->state = USER_ASKED;
    line_up(users, index);
    fg_tally_offer(users->tally, route_index(users, user), due_ns,
                   user->attempt > 0 || user->has_ticket);
    struct fg_call call = {
        .user = index,
        .user_id = user->id,
        .address_id = user->id / crowd->conf->users_per_address,
        .number = users->next_number++,
        .crowd = crowd->conf,
        .step = &crowd->conf->steps[user->step],
        .due_ns = due_ns,
        .has_ticket = user->has_ticket,
        .ticket = user->ticket,
    };
    user->attempt++;
    users->port.send(users->port.object, &call, due_ns);
}

static void invite(struct fg_users *users, const struct user *user, uint64_t now_ns)
{
    struct crowd *crowd = &users->crowds[user->crowd];
    const struct fg_scenario_invites *invites = &crowd->conf->invites;
    if (!invites->is_on || !fg_chance_permille(&crowd->chance, invites->share_permille))
        return;
    for (uint32_t i = 0; i < invites->each; i++) {
        if (fg_chance_permille(&crowd->chance, invites->accepted_permille))
            fg_event_heap_add(users->heap, now_ns + draw_pause(&crowd->chance, invites->after_ns),
                              FG_USERS_INVITED, user->crowd);
    }
}

static void go_on(struct fg_users *users, uint32_t index, uint64_t now_ns)
{
    struct user *user = &users->users[index];
    const struct fg_scenario_step *step = &users->crowds[user->crowd].conf->steps[user->step];
    if (++user->times >= step->times) {
        user->step++;
        user->times = 0;
    }
    begin_step(users, index, now_ns);
}

/* ---- when it goes wrong ---- */

static uint64_t retry_pause_ns(struct crowd *crowd, unsigned attempt, uint64_t retry_after_ns)
{
    const struct fg_scenario_retry *retry = &crowd->conf->retry;
    double pause = (double)retry->delay_ns;
    for (unsigned i = 1; i < attempt && pause < (double)retry->delay_max_ns; i++)
        pause *= retry->growth_permille / 1000.0;
    if (pause > (double)retry->delay_max_ns)
        pause = (double)retry->delay_max_ns;
    pause -= pause * retry->jitter_permille / 1000.0 * fg_chance_unit(&crowd->chance);
    uint64_t pause_ns = (uint64_t)pause;
    return retry->respects_retry_after && retry_after_ns > pause_ns ? retry_after_ns : pause_ns;
}

static void fail(struct fg_users *users, uint32_t index, uint64_t now_ns, uint64_t retry_after_ns)
{
    struct user *user = &users->users[index];
    struct crowd *crowd = &users->crowds[user->crowd];
    if (user->attempt < crowd->conf->retry.attempts) {
        wake_after(users, index, now_ns, retry_pause_ns(crowd, user->attempt, retry_after_ns));
        return;
    }
    if (!crowd->conf->steps[user->step].is_optional) {
        let_go(users, index, false);
        return;
    }
    user->step++;
    user->times = 0;
    begin_step(users, index, now_ns);
}

/* A place in line is no failure: the user asks again with the ticket, and its tries start anew. */
static void stay_in_line(struct fg_users *users, uint32_t index, uint64_t now_ns,
                         const struct fg_answer *answer)
{
    struct user *user = &users->users[index];
    if (user->line_since_ns == 0) {
        user->line_since_ns = now_ns;
        users->tally->crowds[user->crowd].in_line++;
    }
    user->has_ticket = true;
    user->ticket = answer->ticket;
    user->attempt = 0;
    if (now_ns - user->line_since_ns >= users->crowds[user->crowd].conf->line_patience_ns) {
        let_go(users, index, false);
        return;
    }
    uint64_t pause_ns = answer->retry_after_ns == 0 ? FG_POLICY_S : answer->retry_after_ns;
    wake_after(users, index, now_ns, pause_ns);
}

void fg_users_answer(struct fg_users *users, uint32_t index, uint64_t now_ns,
                     const struct fg_answer *answer)
{
    assert(index < users->count);
    struct user *user = &users->users[index];
    assert(user->state == USER_ASKED);
    step_out(users, index);
    fg_tally_outcome(users->tally, route_index(users, user), now_ns, answer->outcome,
                     answer->reason, now_ns - user->due_ns);
    bool is_let_in =
        answer->outcome != FG_OUTCOME_IN_LINE && answer->outcome != FG_OUTCOME_GAVE_UP &&
        (answer->outcome != FG_OUTCOME_REFUSED || answer->reason != FG_REFUSED_WAITING_ROOM);
    if (is_let_in && user->line_since_ns != 0) {
        fg_histogram_record(&users->tally->crowds[user->crowd].line_ms,
                            (now_ns - user->line_since_ns) / FG_POLICY_MS);
        user->line_since_ns = 0;
    }
    if (answer->outcome == FG_OUTCOME_GOOD) {
        if (users->crowds[user->crowd].conf->steps[user->step].is_goal && user->times == 0) {
            users->tally->crowds[user->crowd].reached++;
            invite(users, user, now_ns);
        }
        go_on(users, index, now_ns);
    } else if (answer->outcome == FG_OUTCOME_IN_LINE) {
        stay_in_line(users, index, now_ns, answer);
    } else {
        fail(users, index, now_ns, answer->retry_after_ns);
    }
}

/* ---- events ---- */

/* The next arrival after `arrival_ns`: the rate's area grows by an exponential of mean 1. */
static void plan_arrival(struct fg_users *users, uint32_t index)
{
    struct crowd *crowd = &users->crowds[index];
    const struct fg_scenario_point *points = crowd->conf->arrivals;
    size_t count = crowd->conf->arrival_count;
    double area = fg_chance_exponential(&crowd->chance, 1);
    double at_s = (double)crowd->arrival_ns / 1e9;
    for (; crowd->piece < count; crowd->piece++) {
        bool is_last = crowd->piece + 1 == count;
        double start_s = (double)points[crowd->piece].at_ns / 1e9;
        double end_s = is_last ? HUGE_VAL : (double)points[crowd->piece + 1].at_ns / 1e9;
        double start_rate = points[crowd->piece].per_s;
        double slope =
            is_last ? 0 : (points[crowd->piece + 1].per_s - start_rate) / (end_s - start_s);
        if (at_s < start_s)
            at_s = start_s;
        double rate = start_rate + slope * (at_s - start_s);
        double left =
            is_last ? HUGE_VAL : (rate + points[crowd->piece + 1].per_s) / 2 * (end_s - at_s);
        if (is_last && rate <= 0)
            return;
        if (area > left) {
            area -= left;
            at_s = end_s;
            continue;
        }
        /* rate x t + slope / 2 x t^2 = area, in the form that is steady for a small slope */
        double root = rate * rate + 2 * slope * area;
        at_s += 2 * area / (rate + sqrt(root > 0 ? root : 0));
        break;
    }
    if (crowd->piece == count || at_s * 1e9 >= (double)users->scenario->duration_ns)
        return;
    crowd->arrival_ns = (uint64_t)(at_s * 1e9);
    fg_event_heap_add(users->heap, crowd->arrival_ns, FG_USERS_ARRIVAL, index);
}

static void arrive(struct fg_users *users, uint32_t crowd_index, uint64_t now_ns)
{
    struct crowd *crowd = &users->crowds[crowd_index];
    if (crowd->arrived >= crowd->conf->users_max)
        return;
    uint32_t index = take_user(users);
    if (index == NONE)
        return;
    crowd->arrived++;
    users->tally->crowds[crowd_index].arrived++;
    users->users[index] = (struct user){.id = users->next_id++, .crowd = (uint16_t)crowd_index};
    if (++users->active > users->tally->users_active_max)
        users->tally->users_active_max = users->active;
    begin_step(users, index, now_ns);
}

static void lose_patience(struct fg_users *users, uint32_t crowd_index, uint64_t now_ns)
{
    struct crowd *crowd = &users->crowds[crowd_index];
    uint64_t patience_ns = crowd->conf->patience_ns;
    crowd->is_patience_armed = false;
    while (crowd->oldest != NONE) {
        uint32_t index = crowd->oldest;
        uint64_t until_ns = users->users[index].due_ns + patience_ns;
        if (until_ns > now_ns) {
            crowd->is_patience_armed = true;
            fg_event_heap_add(users->heap, until_ns, FG_USERS_OUT_OF_PATIENCE, crowd_index);
            return;
        }
        users->port.abandon(users->port.object, index, now_ns);
        fg_users_answer(users, index, now_ns, &(struct fg_answer){.outcome = FG_OUTCOME_GAVE_UP});
    }
}

void fg_users_on_event(struct fg_users *users, const struct fg_event *event)
{
    uint32_t index = fg_event_index(event);
    switch (fg_event_kind(event)) {
    case FG_USERS_ARRIVAL:
        arrive(users, index, event->at_ns);
        plan_arrival(users, index);
        return;
    case FG_USERS_INVITED:
        users->tally->crowds[index].invited++;
        arrive(users, index, event->at_ns);
        return;
    case FG_USERS_WAKE:
        ask(users, index, event->at_ns);
        return;
    case FG_USERS_OUT_OF_PATIENCE:
        lose_patience(users, index, event->at_ns);
        return;
    default:
        assert(fg_event_kind(event) < FG_USERS_EVENT_END);
    }
}

/* ---- lifetime ---- */

struct fg_users *fg_users_create(const struct fg_scenario *scenario, const struct fg_config *config,
                                 struct fg_event_heap *heap, struct fg_tally *tally,
                                 const struct fg_users_port *port)
{
    struct fg_users *users = calloc(1, sizeof(*users));
    if (users == NULL)
        return NULL;
    *users = (struct fg_users){.scenario = scenario,
                               .config = config,
                               .heap = heap,
                               .tally = tally,
                               .port = *port,
                               .free = NONE};
    for (uint32_t i = 0; i < scenario->crowd_count; i++) {
        users->crowds[i] = (struct crowd){.conf = &scenario->crowds[i],
                                          .chance = fg_chance_stream(scenario->seed, i),
                                          .oldest = NONE,
                                          .newest = NONE};
        plan_arrival(users, i);
    }
    return users;
}

void fg_users_destroy(struct fg_users *users)
{
    if (users == NULL)
        return;
    free(users->users);
    free(users);
}

uint64_t fg_users_active(const struct fg_users *users)
{
    return users->active;
}

bool fg_users_are_complete(const struct fg_users *users)
{
    return !users->is_exhausted;
}
