/*
 * kv_report.c: see kv_report.h.
 */
#include "admin/kv_report.h"

static double number(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static double percent(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 0;
}

static void report_blocks(FILE *out, const json_t *kv)
{
    static const struct {
        const char *name, *key, *meaning;
    } states[] = {
        {"used", "blocks_used", "held by sequences"},
        {"cached", "blocks_cached", "held by nobody, found again by their tokens"},
        {"free", "blocks_free", "empty"},
    };
    double total = number(kv, "blocks_total");
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        double count = number(kv, states[i].key);
        fprintf(out, "  %-8s %10.0f  %5.1f %%  %s\n", states[i].name, count, percent(count, total),
                states[i].meaning);
    }
    fprintf(out, "  %-8s %10.0f\n", "total", total);
    fprintf(out, "sequences  %.0f of %.0f; %.1f %% of the positions they hold are empty\n",
            number(kv, "sequences"), number(kv, "sequences_max"),
            percent(number(kv, "slots_wasted"), number(kv, "slots_held")));
    fprintf(out,
            "ever       %.0f blocks given back, %.0f cached ones taken for others, %.0f repairs\n",
            number(kv, "blocks_released"), number(kv, "blocks_evicted"), number(kv, "repairs"));
    fprintf(out, "orphans    %.0f of which %.0f were adopted and %.0f wanted by nobody\n",
            number(kv, "orphaned"), number(kv, "adopted"), number(kv, "orphans_expired"));
}

static void report_workers(FILE *out, const json_t *workers)
{
    size_t i;
    const json_t *worker;
    fprintf(out, "\n%-7s %8s %8s %8s %12s %12s %9s %9s %7s\n", "worker", "pid", "running",
            "waiting", "prefill", "decode", "cached", "preempted", "starts");
    json_array_foreach(workers, i, worker)
    {
        fprintf(out, "%-7.0f %8.0f %8.0f %8.0f %12.0f %12.0f %7.1f %% %9.0f %7.0f\n",
                number(worker, "worker"), number(worker, "pid"), number(worker, "running"),
                number(worker, "waiting"), number(worker, "tokens_prefill"),
                number(worker, "tokens_decode"),
                percent(number(worker, "tokens_cached"), number(worker, "tokens_prompt")),
                number(worker, "preemptions"), number(worker, "starts"));
    }
}

void fg_kv_report(FILE *out, const json_t *stats)
{
    const json_t *inference = json_object_get(stats, "inference");
    const char *model = json_string_value(json_object_get(inference, "model"));
    if (model == NULL) {
        fprintf(out, "inference is off\n");
        return;
    }
    fprintf(out, "KV blocks of %s, 16 positions each\n", model);
    report_blocks(out, json_object_get(inference, "kv"));
    report_workers(out, json_object_get(inference, "workers"));
}
