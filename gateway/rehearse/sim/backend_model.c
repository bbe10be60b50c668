/*
 * backend_model.c: slots, batches and faults in virtual time.
 * Law      slots     a job is served for a drawn time / speed, then its slot takes the next one.
 *          sequences each of n running ones gets min(per_s_each, per_s / n) x speed tokens a
 *                    second (processor sharing); a prompt counts as the work that its prefill
 *                    takes. KV in use grows with the work; when it is full, the newest sequence
 *                    gives its blocks back and begins again later.
 */
#include "rehearse/sim/backend_model.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define SLOTS_MAX 1e9
#define WORK_EPSILON 1e-6 /* of a token: sums of floating point */

/* ---- pending ---- */

static void append(struct fg_backend_model *model, struct fg_job *job)
{
    job->state = FG_JOB_PENDING;
    job->next = NULL;
    job->prev = model->newest;
    if (model->newest == NULL)
        model->oldest = job;
    else
        model->newest->next = job;
    model->newest = job;
    model->pending++;
}

static void prepend(struct fg_backend_model *model, struct fg_job *job)
{
    job->state = FG_JOB_PENDING;
    job->prev = NULL;
    job->next = model->oldest;
    if (model->oldest == NULL)
        model->newest = job;
    else
        model->oldest->prev = job;
    model->oldest = job;
    model->pending++;
}

static void take_out(struct fg_backend_model *model, struct fg_job *job)
{
    if (job->prev == NULL)
        model->oldest = job->next;
    else
        job->prev->next = job->next;
    if (job->next == NULL)
        model->newest = job->prev;
    else
        job->next->prev = job->prev;
    assert(model->pending > 0);
    model->pending--;
}

static void finish(struct fg_backend_model *model, struct fg_job *job, uint64_t now_ns,
                   uint64_t head_ns)
{
    enum fg_job_outcome outcome = FG_JOB_ANSWERED;
    if (job->is_orphan) {
        outcome = FG_JOB_DISOWNED;
        model->wasted_total++;
    } else if (fg_chance_permille(&model->chance, model->errors_permille)) {
        outcome = FG_JOB_ERROR;
    }
    job->state = FG_JOB_IDLE;
    model->on_done(model->object, job, outcome, now_ns, head_ns);
}

/* ---- slots ---- */

static uint64_t draw_service_ns(struct fg_backend_model *model)
{
    double mean = (double)model->conf->service_ns / model->speed;
    switch (model->conf->spread) {
    case FG_SERVICE_FIXED:
        return fg_chance_as_ns(mean);
    case FG_SERVICE_EXPONENTIAL:
        return fg_chance_as_ns(fg_chance_exponential(&model->chance, mean));
    case FG_SERVICE_LOGNORMAL:
        break;
    }
    return fg_chance_as_ns(
        fg_chance_lognormal(&model->chance, mean, model->conf->sigma_permille / 1000.0));
}

static void serve(struct fg_backend_model *model, struct fg_job *job, uint64_t now_ns)
{
    job->state = FG_JOB_SERVED;
    job->served_ns = now_ns;
    model->busy++;
    fg_event_heap_add(model->heap, now_ns + draw_service_ns(model), model->events.served,
                      job->index);
}

static void fill_slots(struct fg_backend_model *model, uint64_t now_ns)
{
    while (model->oldest != NULL && model->busy < model->slots) {
        struct fg_job *job = model->oldest;
        take_out(model, job);
        serve(model, job, now_ns);
    }
}

void fg_backend_model_on_served(struct fg_backend_model *model, struct fg_job *job, uint64_t now_ns)
{
    if (job->state == FG_JOB_STOPPED) {
        job->state = FG_JOB_IDLE;
        model->on_done(model->object, job, FG_JOB_DISOWNED, now_ns, now_ns);
        return;
    }
    model->busy--;
    fill_slots(model, now_ns); /* its own queue goes before what the answer lets in */
    if (model->conf->latency_ns > 0 && !job->is_orphan) {
        job->state = FG_JOB_ON_THE_WAY;
        fg_event_heap_add(model->heap, now_ns + model->conf->latency_ns, model->events.answered,
                          job->index);
    } else {
        finish(model, job, now_ns, now_ns);
    }
}

void fg_backend_model_on_answered(struct fg_backend_model *model, struct fg_job *job,
                                  uint64_t now_ns)
{
    finish(model, job, now_ns, now_ns);
}

/* ---- sequences ---- */

static double rate_each(const struct fg_backend_model *model)
{
    const struct fg_scenario_tokens *tokens = &model->conf->tokens;
    if (model->busy == 0)
        return 0;
    double share = (double)tokens->per_s / model->busy;
    double most = (double)tokens->per_s_each;
    return (share < most ? share : most) * model->speed;
}

static double prefill_work(const struct fg_backend_model *model, const struct fg_job *job)
{
    const struct fg_scenario_tokens *tokens = &model->conf->tokens;
    return (double)job->prompt_tokens * (double)tokens->per_s_each / (double)tokens->prefill_per_s;
}

static void advance(struct fg_backend_model *model, uint64_t now_ns)
{
    model->work_each += rate_each(model) * (double)(now_ns - model->work_ns) / 1e9;
    model->work_ns = now_ns;
}

/* KV tokens of one running sequence: all it may need, or what it has come to. */
static double kv_of(const struct fg_backend_model *model, const struct fg_job *job)
{
    if (model->conf->tokens.is_reserving)
        return (double)job->prompt_tokens + job->output_tokens;
    double share = (model->work_each - job->begins_at) / (job->ends_at - job->begins_at);
    return job->prompt_tokens + (share < 1 ? share : 1) * job->output_tokens;
}

static double kv_used(const struct fg_backend_model *model)
{
    double used = 0;
    for (uint32_t i = 0; i < model->busy; i++)
        used += kv_of(model, model->batch[i]);
    return used;
}

static void leave_batch(struct fg_backend_model *model, uint32_t at)
{
    model->busy--;
    for (uint32_t i = at; i < model->busy; i++)
        model->batch[i] = model->batch[i + 1]; /* the order of joining is kept */
}

static void fill_batch(struct fg_backend_model *model, uint64_t now_ns)
{
    const struct fg_scenario_tokens *tokens = &model->conf->tokens;
    double used = kv_used(model);
    while (model->oldest != NULL && model->busy < model->conf->slots && model->is_reachable) {
        struct fg_job *job = model->oldest;
        double need = job->prompt_tokens + (tokens->is_reserving ? (double)job->output_tokens : 1);
        if (model->busy > 0 && used + need > (double)tokens->kv)
            return;
        take_out(model, job);
        job->state = FG_JOB_SERVED;
        job->served_ns = now_ns;
        job->begins_at = model->work_each;
        job->ends_at = model->work_each + prefill_work(model, job) + job->output_tokens;
        model->batch[model->busy++] = job;
        used += need;
    }
}

/* When the first sequence ends, or the cache is full. */
static void plan_turn(struct fg_backend_model *model, uint64_t now_ns)
{
    double rate = rate_each(model);
    model->turn_ns = UINT64_MAX;
    if (model->busy == 0 || rate <= 0)
        return;
    double soonest = HUGE_VAL;
    double growth = 0;
    for (uint32_t i = 0; i < model->busy; i++) {
        const struct fg_job *job = model->batch[i];
        double left = job->ends_at - model->work_each;
        soonest = left < soonest ? left : soonest;
        growth += job->output_tokens / (job->ends_at - job->begins_at);
    }
    if (!model->conf->tokens.is_reserving && model->busy > 1) {
        double room = ((double)model->conf->tokens.kv - kv_used(model)) / growth;
        soonest = room < soonest ? room : soonest;
    }
    double wait_s = soonest > 0 ? soonest / rate : 0;
    model->turn_ns = now_ns + fg_chance_as_ns(wait_s * 1e9) + 1;
    fg_event_heap_add(model->heap, model->turn_ns, model->events.turn, model->conf->backend_index);
}

static void preempt_newest(struct fg_backend_model *model)
{
    struct fg_job *job = model->batch[model->busy - 1];
    leave_batch(model, model->busy - 1);
    prepend(model, job);
    model->preempted_total++;
}

void fg_backend_model_on_turn(struct fg_backend_model *model, uint64_t now_ns)
{
    if (now_ns != model->turn_ns)
        return;
    advance(model, now_ns);
    bool has_ended = false;
    for (uint32_t i = 0; i < model->busy;) {
        struct fg_job *job = model->batch[i];
        if (job->ends_at > model->work_each + WORK_EPSILON) {
            i++;
            continue;
        }
        leave_batch(model, i);
        has_ended = true;
        double first = prefill_work(model, job) / (job->ends_at - job->begins_at);
        uint64_t head_ns = job->served_ns + (uint64_t)(first * (double)(now_ns - job->served_ns));
        finish(model, job, now_ns, head_ns);
    }
    if (!has_ended && !model->conf->tokens.is_reserving && model->busy > 1)
        preempt_newest(model);
    else
        fill_batch(model, now_ns);
    plan_turn(model, now_ns);
}

/* ---- faults ---- */

static void plan_faults(struct fg_backend_model *model)
{
    for (size_t i = 0; i < model->conf->fault_count; i++) {
        const struct fg_scenario_fault *fault = &model->conf->faults[i];
        fg_event_heap_add(model->heap, fault->at_ns, model->events.fault,
                          model->conf->backend_index);
        fg_event_heap_add(model->heap, fault->at_ns + fault->for_ns, model->events.fault,
                          model->conf->backend_index);
    }
}

void fg_backend_model_on_fault(struct fg_backend_model *model, uint64_t now_ns)
{
    const struct fg_scenario_backend *conf = model->conf;
    if (conf->tokens.is_on)
        advance(model, now_ns);
    double slots = 1;
    model->speed = 1;
    model->errors_permille = conf->errors_permille;
    for (size_t i = 0; i < conf->fault_count; i++) {
        const struct fg_scenario_fault *fault = &conf->faults[i];
        bool is_meant = fault->endpoint_count == 0 || conf->endpoint_index < fault->endpoint_count;
        if (!is_meant || now_ns < fault->at_ns || now_ns >= fault->at_ns + fault->for_ns)
            continue;
        slots *= fault->slots_permille / 1000.0;
        model->speed *= 1000.0 / fault->slow_permille;
        if (fault->errors_permille > model->errors_permille)
            model->errors_permille = fault->errors_permille;
    }
    model->is_reachable = slots > 0;
    if (conf->tokens.is_on) {
        model->speed *= slots;
        fill_batch(model, now_ns);
        plan_turn(model, now_ns);
        return;
    }
    double rounded = fmin(floor(conf->slots * slots), SLOTS_MAX);
    model->slots = slots > 0 && rounded < 1 ? 1 : (uint32_t)rounded;
    fill_slots(model, now_ns);
}

/* ---- public ---- */

bool fg_backend_model_init(struct fg_backend_model *model, const struct fg_scenario_backend *conf,
                           struct fg_event_heap *heap, const struct fg_backend_events *events,
                           uint64_t seed, fg_job_done_fn on_done, void *object)
{
    *model = (struct fg_backend_model){.conf = conf,
                                       .heap = heap,
                                       .events = *events,
                                       .on_done = on_done,
                                       .object = object,
                                       .chance = fg_chance_stream(seed, conf->backend_index),
                                       .turn_ns = UINT64_MAX};
    if (conf->tokens.is_on) {
        model->batch = calloc(conf->slots, sizeof(struct fg_job *));
        if (model->batch == NULL)
            return false;
    }
    fg_backend_model_on_fault(model, 0);
    plan_faults(model);
    return true;
}

void fg_backend_model_fini(struct fg_backend_model *model)
{
    free(model->batch);
    model->batch = NULL;
}

enum fg_job_start fg_backend_model_start(struct fg_backend_model *model, struct fg_job *job,
                                         uint64_t now_ns)
{
    if (!model->is_reachable)
        return FG_JOB_UNREACHABLE;
    job->is_orphan = false;
    bool is_batch = model->conf->tokens.is_on;
    uint32_t most = is_batch ? model->conf->slots : model->slots;
    if (model->busy >= most && model->pending >= model->conf->pending_max)
        return FG_JOB_BUSY;
    append(model, job);
    if (is_batch) {
        advance(model, now_ns);
        fill_batch(model, now_ns);
        plan_turn(model, now_ns);
    } else {
        fill_slots(model, now_ns);
    }
    return FG_JOB_TAKEN;
}

bool fg_backend_model_would_answer(const struct fg_backend_model *model, uint64_t *answer_ns)
{
    const struct fg_scenario_backend *conf = model->conf;
    double turns = model->slots == 0 || conf->tokens.is_on
                       ? 0
                       : 1 + (double)model->pending / (double)model->slots;
    *answer_ns =
        fg_chance_as_ns(turns * (double)conf->service_ns / model->speed) + conf->latency_ns;
    return model->is_reachable && model->errors_permille < 500;
}

uint64_t fg_backend_model_kv_used(struct fg_backend_model *model, uint64_t now_ns)
{
    advance(model, now_ns);
    return (uint64_t)kv_used(model);
}

static void stop_sequence(struct fg_backend_model *model, struct fg_job *job, uint64_t now_ns)
{
    advance(model, now_ns);
    uint32_t at = 0;
    while (model->batch[at] != job)
        at++;
    leave_batch(model, at);
    fill_batch(model, now_ns);
    plan_turn(model, now_ns);
}

void fg_backend_model_abandon(struct fg_backend_model *model, struct fg_job *job, uint64_t now_ns)
{
    job->is_orphan = true;
    if (model->conf->is_finishing_orphaned || job->state == FG_JOB_ON_THE_WAY)
        return;
    if (job->state == FG_JOB_SERVED && !model->conf->tokens.is_on) {
        job->state = FG_JOB_STOPPED; /* its event frees it */
        model->busy--;
        fill_slots(model, now_ns);
        return;
    }
    if (job->state == FG_JOB_PENDING)
        take_out(model, job);
    else
        stop_sequence(model, job, now_ns);
    job->state = FG_JOB_IDLE;
    model->on_done(model->object, job, FG_JOB_DISOWNED, now_ns, now_ns);
}
