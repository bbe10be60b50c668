/*
 * inference_stats.c: the counters of all event loops and workers as one JSON object.
 * Thread   any; reads counters only (inference_metrics_shared.h, kv_arena_shared.h).
 * Memory   two histograms while it adds up.
 */
#include "inference_internal.h"

#include "base/clock.h"
#include "inference/kv/kv_arena_shared.h"

#include <stdlib.h>

/* By enum fg_refusal, then enum fg_inference_refused. */
static const char *const refused_names[FG_INFERENCE_REFUSED_COUNT] = {
    [FG_REFUSAL_QUEUE_FULL] = "queue_full",
    [FG_REFUSAL_NO_BLOCKS] = "no_blocks",
    [FG_REFUSAL_TOO_LONG] = "too_long",
    [FG_REFUSAL_BAD_PROMPT] = "bad_prompt",
    [FG_REFUSAL_DEADLINE] = "deadline",
    [FG_REFUSAL_DRAINING] = "draining",
    [FG_REFUSAL_INTERNAL] = "internal",
    [FG_REFUSAL_LATE] = "late",
    [FG_REFUSAL_MOVED] = "moved",
    [FG_REFUSAL_FATAL] = "fatal",
    [FG_INFERENCE_REFUSED_INVALID] = "invalid",
    [FG_INFERENCE_REFUSED_BUSY] = "busy",
    [FG_INFERENCE_REFUSED_NO_WORKER] = "no_worker",
};

struct totals {
    uint64_t started;
    uint64_t completed;
    uint64_t cancelled;
    uint64_t failed;
    uint64_t refused[FG_INFERENCE_REFUSED_COUNT];
    uint64_t resubmitted;
    uint64_t moved;
    uint64_t running;
    uint64_t waiting;
    uint64_t turns_cut;
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
    uint64_t recent_tokens;
    struct fg_histogram ttft;
    struct fg_histogram tpot;
};

static void set_count(json_t *into, const char *name, uint64_t value)
{
    json_object_set_new(into, name, json_integer((json_int_t)value));
}

static void set_counter(json_t *into, const char *name, const struct fg_counter *counter)
{
    set_count(into, name, fg_counter_get(counter));
}

static void add_block(struct totals *totals, const struct fg_inference_metrics *block,
                      uint64_t now_ns)
{
    totals->started += fg_counter_get(&block->started);
    totals->completed += fg_counter_get(&block->completed);
    totals->cancelled += fg_counter_get(&block->cancelled);
    totals->failed += fg_counter_get(&block->failed);
    for (unsigned i = 0; i < FG_INFERENCE_REFUSED_COUNT; i++)
        totals->refused[i] += fg_counter_get(&block->refused[i]);
    totals->resubmitted += fg_counter_get(&block->resubmitted);
    totals->moved += fg_counter_get(&block->moved);
    totals->running += fg_counter_get(&block->running);
    totals->waiting += fg_counter_get(&block->waiting);
    totals->turns_cut += fg_counter_get(&block->turns_cut);
    totals->prompt_tokens += fg_counter_get(&block->prompt_tokens);
    totals->completion_tokens += fg_counter_get(&block->completion_tokens);
    totals->recent_tokens += fg_inference_metrics_recent(block, now_ns);
    fg_histogram_merge(&totals->ttft, &block->ttft);
    fg_histogram_merge(&totals->tpot, &block->tpot);
}

static json_t *requests_json(const struct totals *totals)
{
    json_t *requests = json_object();
    json_t *refused = json_object();
    set_count(requests, "started", totals->started);
    set_count(requests, "completed", totals->completed);
    set_count(requests, "cancelled", totals->cancelled);
    set_count(requests, "failed", totals->failed);
    set_count(requests, "resubmitted", totals->resubmitted);
    set_count(requests, "moved", totals->moved);
    set_count(requests, "running", totals->running);
    set_count(requests, "waiting_for_worker", totals->waiting);
    set_count(requests, "turns_cut", totals->turns_cut);
    for (unsigned i = 0; i < FG_INFERENCE_REFUSED_COUNT; i++)
        set_count(refused, refused_names[i], totals->refused[i]);
    json_object_set_new(requests, "refused", refused);
    return requests;
}

static json_t *milliseconds(uint64_t ns)
{
    return json_real((double)ns / (double)FG_MS);
}

static json_t *quantiles_json(const struct fg_histogram *histogram)
{
    json_t *quantiles = json_object();
    json_object_set_new(quantiles, "p50", milliseconds(fg_histogram_quantile(histogram, 5000)));
    json_object_set_new(quantiles, "p90", milliseconds(fg_histogram_quantile(histogram, 9000)));
    json_object_set_new(quantiles, "p99", milliseconds(fg_histogram_quantile(histogram, 9900)));
    set_counter(quantiles, "count", &histogram->count);
    return quantiles;
}

static json_t *seconds_json(const struct fg_histogram *histogram)
{
    json_t *seconds = json_object();
    set_counter(seconds, "count", &histogram->count);
    json_object_set_new(seconds, "sum",
                        json_real((double)fg_counter_get(&histogram->sum) / (double)FG_S));
    return seconds;
}

/* What the worker says about itself in the arena. */
static void add_record(json_t *into, const struct fg_kv_worker_record *record, uint64_t now_ns)
{
    uint64_t heartbeat_ns = fg_counter_get(&record->heartbeat_ns);
    set_counter(into, "starts", &record->generation);
    set_counter(into, "steps", &record->steps);
    set_counter(into, "tokens_prefill", &record->tokens_prefill);
    set_counter(into, "tokens_decode", &record->tokens_decode);
    set_counter(into, "waiting", &record->waiting);
    set_counter(into, "running", &record->running);
    set_counter(into, "preemptions", &record->preemptions);
    set_counter(into, "batch_sequences", &record->batch_sequences);
    set_counter(into, "tokens_prompt", &record->tokens_prompt);
    set_counter(into, "tokens_cached", &record->tokens_cached);
    set_counter(into, "tokens_saved", &record->tokens_saved);
    if (heartbeat_ns > 0 && heartbeat_ns <= now_ns)
        json_object_set_new(into, "heartbeat_age_seconds",
                            json_real((double)(now_ns - heartbeat_ns) / (double)FG_S));
}

static json_t *workers_json(const struct fg_inference *backend, uint64_t now_ns)
{
    json_t *workers = json_array();
    for (uint32_t i = 0; i < backend->conf.worker_count; i++) {
        const struct fg_inference_worker_gauges *gauges = &backend->workers[i];
        json_t *worker = json_object();
        set_count(worker, "worker", i);
        set_counter(worker, "pid", &gauges->pid);
        set_counter(worker, "connections", &gauges->connections);
        set_counter(worker, "outstanding", &gauges->outstanding);
        set_counter(worker, "connections_lost", &gauges->lost);
        const struct fg_kv_worker_record *record =
            backend->arena == NULL ? NULL : fg_kv_arena_worker(backend->arena, i);
        if (record != NULL)
            add_record(worker, record, now_ns);
        json_array_append_new(workers, worker);
    }
    return workers;
}

/* What was foretold of first tokens, and how far off it was, over all workers. */
static json_t *prediction_json(const struct fg_inference *backend)
{
    uint64_t count = 0, predicted_ns = 0, actual_ns = 0, error_ns = 0;
    for (uint32_t i = 0; backend->arena != NULL && i < backend->conf.worker_count; i++) {
        const struct fg_kv_worker_record *record = fg_kv_arena_worker(backend->arena, i);
        if (record == NULL)
            continue;
        count += fg_counter_get(&record->predictions);
        predicted_ns += fg_counter_get(&record->predicted_ns);
        actual_ns += fg_counter_get(&record->predicted_actual_ns);
        error_ns += fg_counter_get(&record->predicted_error_ns);
    }
    json_t *prediction = json_object();
    set_count(prediction, "count", count);
    json_object_set_new(prediction, "predicted_seconds_sum",
                        json_real((double)predicted_ns / FG_S));
    json_object_set_new(prediction, "actual_seconds_sum", json_real((double)actual_ns / FG_S));
    json_object_set_new(prediction, "error_seconds_sum", json_real((double)error_ns / FG_S));
    return prediction;
}

static json_t *kv_json(const struct fg_inference *backend)
{
    struct fg_kv_gauges gauges = {0};
    struct fg_kv_slots slots = {0};
    json_t *kv = json_object();
    if (backend->arena != NULL) {
        fg_kv_arena_gauges(backend->arena, &gauges);
        slots = fg_kv_arena_slots(backend->arena);
    }
    set_count(kv, "blocks_total", gauges.blocks_total);
    set_count(kv, "blocks_free", gauges.blocks_free);
    set_count(kv, "blocks_cached", gauges.blocks_cached);
    set_count(kv, "blocks_used", gauges.blocks_used);
    set_count(kv, "blocks_evicted", gauges.blocks_evicted);
    set_count(kv, "slots_held", slots.held);
    set_count(kv, "slots_wasted", slots.wasted);
    set_count(kv, "sequences", gauges.sequences);
    set_count(kv, "sequences_max", gauges.sequences_max);
    set_count(kv, "blocks_released", gauges.blocks_released);
    set_count(kv, "repairs", gauges.repairs);
    set_count(kv, "orphaned", gauges.orphaned);
    set_count(kv, "adopted", gauges.adopted);
    set_count(kv, "orphans_expired", gauges.orphans_expired);
    set_count(kv, "suspects", gauges.suspects);
    return kv;
}

void fg_inference_stats(struct fg_backend *base, json_t *into)
{
    struct fg_inference *backend = (struct fg_inference *)base;
    struct totals *totals = calloc(1, sizeof(*totals));
    if (totals == NULL)
        return;
    uint64_t now_ns = fg_clock_monotonic_ns();
    for (struct fg_inference_metrics *block = fg_inference_metrics_first(&backend->metrics);
         block != NULL; block = block->next)
        add_block(totals, block, now_ns);
    json_object_set_new(into, "model", json_string(backend->model_name));
    json_object_set_new(into, "workers", workers_json(backend, now_ns));
    json_object_set_new(into, "kv", kv_json(backend));
    json_object_set_new(into, "requests", requests_json(totals));
    json_object_set_new(into, "prediction", prediction_json(backend));
    json_object_set_new(into, "ttft_ms", quantiles_json(&totals->ttft));
    json_object_set_new(into, "tpot_ms", quantiles_json(&totals->tpot));
    json_object_set_new(into, "ttft_seconds", seconds_json(&totals->ttft));
    json_object_set_new(into, "tpot_seconds", seconds_json(&totals->tpot));
    json_t *tokens = json_object();
    set_count(tokens, "prompt", totals->prompt_tokens);
    set_count(tokens, "completion", totals->completion_tokens);
    json_object_set_new(into, "tokens", tokens);
    json_object_set_new(into, "tokens_per_s",
                        json_real((double)totals->recent_tokens / FG_INFERENCE_RATE_SECONDS));
    free(totals);
}
