/*
 * report_text.c: the report on a terminal: what bites first, what came of it, when it was over.
 */
#include "rehearse/report.h"

#include "base/clock.h"
#include "rehearse/summary.h"

#include <inttypes.h>

#define BITES_SHOWN 12

const char *fg_report_clock(char text[FG_REPORT_TEXT_BYTES], uint64_t at_ns)
{
    unsigned long long ms = at_ns / FG_MS;
    snprintf(text, FG_REPORT_TEXT_BYTES, "%llu:%02llu:%02llu.%03llu", ms / 3600000, ms / 60000 % 60,
             ms / 1000 % 60, ms % 1000);
    return text;
}

const char *fg_report_span(char text[FG_REPORT_TEXT_BYTES], uint64_t ns)
{
    if (ns < FG_MS)
        snprintf(text, FG_REPORT_TEXT_BYTES, "%.2f ms", (double)ns / 1e6);
    else if (ns < 10 * FG_S)
        snprintf(text, FG_REPORT_TEXT_BYTES, ns < FG_S ? "%.0f ms" : "%.1f s",
                 (double)ns / (ns < FG_S ? 1e6 : 1e9));
    else if (ns < 600 * FG_S)
        snprintf(text, FG_REPORT_TEXT_BYTES, "%.0f s", (double)ns / 1e9);
    else
        snprintf(text, FG_REPORT_TEXT_BYTES, "%.1f min", (double)ns / 6e10);
    return text;
}

const char *fg_report_count(char text[FG_REPORT_TEXT_BYTES], uint64_t count)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, count);
    size_t at = 0;
    for (int i = 0; i < len; i++) {
        text[at++] = digits[i];
        if ((len - i - 1) % 3 == 0 && i + 1 < len)
            text[at++] = ',';
    }
    text[at] = '\0';
    return text;
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
}

static void print_head(const struct fg_report *report, FILE *out)
{
    char duration[FG_REPORT_TEXT_BYTES], users[FG_REPORT_TEXT_BYTES], events[FG_REPORT_TEXT_BYTES];
    uint64_t arrived = 0;
    for (size_t i = 0; i < report->tally->crowd_count; i++)
        arrived += report->tally->crowds[i].arrived;
    fprintf(out, "%s: %s users in %s", report->scenario->name, fg_report_count(users, arrived),
            fg_report_span(duration, report->tally->duration_ns));
    if (report->target == NULL)
        fprintf(out, ", simulated (%s events), seed %" PRIu64 "\n",
                fg_report_count(events, report->tally->events), report->scenario->seed);
    else
        fprintf(out, " against %s, seed %" PRIu64 "; the generator was at most %s late\n",
                report->target, report->scenario->seed,
                fg_report_span(events, report->tally->behind_max_ns));
    if (report->tally->interrupted_ns > 0)
        fprintf(out, "interrupted after %s: what follows is what came of it by then\n",
                fg_report_span(duration, report->tally->interrupted_ns));
}

static bool has_requests(const struct fg_tally *tally)
{
    for (size_t i = 0; i < tally->route_count; i++) {
        if (tally->routes[i].offered > 0)
            return true;
    }
    return false;
}

static void print_bites(const struct fg_report *report, FILE *out)
{
    static struct fg_bite bites[FG_BITES_MAX];
    size_t count = fg_summary_bites(report->tally, bites);
    char at[FG_REPORT_TEXT_BYTES], number[FG_REPORT_TEXT_BYTES];
    fprintf(out, "\nWhat bites first\n");
    if (count == 0)
        fprintf(out, has_requests(report->tally) ? "  nothing: every request succeeded\n"
                                                 : "  nothing: there was no request\n");
    for (size_t i = 0; i < count && i < BITES_SHOWN; i++) {
        const struct fg_bite *bite = &bites[i];
        fprintf(out, "  %14s  %-16s %-22s %14s  %5.1f %% of %s\n",
                fg_report_clock(at, bite->first_ns), report->config->routes[bite->route].name,
                bite->what, fg_report_count(number, bite->count),
                percent(bite->count, report->tally->routes[bite->route].offered),
                "what the route was asked");
    }
    if (count > BITES_SHOWN)
        fprintf(out, "  and %zu more further down\n", count - BITES_SHOWN);
}

static void print_routes(const struct fg_report *report, FILE *out)
{
    fprintf(out, "\n%-16s %-8s %13s %12s %7s %7s %7s %7s %7s %7s %9s %9s\n", "route", "priority",
            "asked", "of it again", "good", "refused", "failed", "late", "gave up", "in line",
            "p50", "p99");
    for (size_t i = 0; i < report->tally->route_count; i++) {
        const struct fg_tally_route *route = &report->tally->routes[i];
        if (route->offered == 0)
            continue;
        char asked[FG_REPORT_TEXT_BYTES], again[FG_REPORT_TEXT_BYTES];
        char p50[FG_REPORT_TEXT_BYTES], p99[FG_REPORT_TEXT_BYTES];
        fprintf(out, "%-16s %-8s %13s %12s", report->config->routes[i].name,
                fg_priority_name(report->config->routes[i].priority),
                fg_report_count(asked, route->offered), fg_report_count(again, route->retries));
        for (unsigned j = 0; j < FG_OUTCOME_COUNT; j++)
            fprintf(out, " %5.1f %%", percent(route->outcomes[j], route->offered));
        fprintf(out, " %9s %9s\n",
                fg_report_span(p50, fg_histogram_quantile(&route->latency, 5000)),
                fg_report_span(p99, fg_histogram_quantile(&route->latency, 9900)));
    }
}

static void print_refusals(const struct fg_report *report, FILE *out)
{
    fprintf(out, "\nRefusals by class and reason\n");
    for (unsigned class = 0; class < FG_PRIORITY_COUNT; class ++) {
        uint64_t refused[FG_TALLY_REASON_COUNT] = {0};
        for (size_t i = 0; i < report->tally->route_count; i++) {
            for (unsigned j = 0; j < FG_TALLY_REASON_COUNT; j++)
                refused[j] += report->config->routes[i].priority == class ? report->tally->routes[i]
                                                                                .refused[j]
                                                                          : 0;
        }
        struct fg_class_sum sum =
            fg_summary_class(report->tally, report->config, (enum fg_priority) class);
        if (sum.ended == 0)
            continue;
        fprintf(out, "  %-8s %7.3f %% good", fg_priority_name((enum fg_priority) class),
                percent(sum.outcomes[FG_OUTCOME_GOOD], sum.ended));
        char number[FG_REPORT_TEXT_BYTES];
        for (unsigned j = 0; j < FG_TALLY_REASON_COUNT; j++) {
            if (refused[j] > 0)
                fprintf(out, "; %s %s", fg_tally_reason_name(j),
                        fg_report_count(number, refused[j]));
        }
        fprintf(out, "\n");
    }
}

static void print_flood(const struct fg_report *report, size_t backend, FILE *out)
{
    struct fg_flood flood = fg_summary_flood(report->tally, report->config, backend);
    char begins[FG_REPORT_TEXT_BYTES], ends[FG_REPORT_TEXT_BYTES], after[FG_REPORT_TEXT_BYTES];
    if (!flood.is_there)
        return;
    fprintf(out, "  %-14s wanted %.0f/s at most, did %.0f/s; flooded from %s to %s; ",
            report->config->backends[backend].name, flood.peak_demand_per_s, flood.peak_done_per_s,
            fg_report_clock(begins, flood.begins_ns), fg_report_clock(ends, flood.ends_ns));
    if (!flood.is_normal)
        fprintf(out, "not normal again before the end\n");
    else if (flood.normal_ns <= flood.ends_ns)
        fprintf(out, "normal at once after it\n");
    else
        fprintf(out, "normal %s after it\n",
                fg_report_span(after, flood.normal_ns - flood.ends_ns));
}

static void print_backends(const struct fg_report *report, FILE *out)
{
    fprintf(out, "\n%-16s %13s %13s %10s %10s %10s %10s\n", "backend", "useful", "wasted",
            "wait p50", "wait p99", "preempted", "limit");
    for (size_t i = 0; i < report->tally->backend_count; i++) {
        const struct fg_tally_backend *backend = &report->tally->backends[i];
        char done[FG_REPORT_TEXT_BYTES], wasted[FG_REPORT_TEXT_BYTES];
        char p50[FG_REPORT_TEXT_BYTES], p99[FG_REPORT_TEXT_BYTES], gone[FG_REPORT_TEXT_BYTES];
        if (backend->done == 0 && fg_counter_get(&backend->wait.count) == 0)
            continue;
        fprintf(out, "%-16s %13s %13s %10s %10s %10s %10u\n", report->config->backends[i].name,
                fg_report_count(done, backend->done), fg_report_count(wasted, backend->wasted),
                fg_report_span(p50, fg_histogram_quantile(&backend->wait, 5000)),
                fg_report_span(p99, fg_histogram_quantile(&backend->wait, 9900)),
                fg_report_count(gone, backend->preempted),
                backend->loads[report->tally->bucket_count - 1].limit);
    }
}

static void print_crowds(const struct fg_report *report, FILE *out)
{
    fprintf(out, "\n%-16s %12s %12s %12s %12s %13s %9s %9s\n", "crowd", "came", "invited", "got it",
            "left without", "stood in line", "for p50", "p99");
    for (size_t i = 0; i < report->tally->crowd_count; i++) {
        const struct fg_tally_crowd *crowd = &report->tally->crowds[i];
        const uint64_t counts[] = {crowd->arrived, crowd->invited, crowd->reached, crowd->left};
        char text[FG_REPORT_TEXT_BYTES], p99[FG_REPORT_TEXT_BYTES];
        fprintf(out, "%-16s", report->scenario->crowds[i].name);
        for (size_t j = 0; j < sizeof(counts) / sizeof(counts[0]); j++)
            fprintf(out, " %12s", fg_report_count(text, counts[j]));
        fprintf(out, " %13s", fg_report_count(text, crowd->in_line));
        if (crowd->in_line > 0)
            fprintf(out, " %9s %9s",
                    fg_report_span(text, fg_histogram_quantile(&crowd->line_ms, 5000) * FG_MS),
                    fg_report_span(p99, fg_histogram_quantile(&crowd->line_ms, 9900) * FG_MS));
        fprintf(out, "\n");
    }
}

static bool check_classes(const struct fg_report *report, FILE *out)
{
    bool is_fine = true;
    for (unsigned i = 0; i < FG_PRIORITY_COUNT; i++) {
        uint32_t wanted = report->scenario->expect.good_permille[i];
        struct fg_class_sum sum =
            fg_summary_class(report->tally, report->config, (enum fg_priority)i);
        double good = percent(sum.outcomes[FG_OUTCOME_GOOD], sum.ended);
        if (wanted == 0 || sum.ended == 0 || good * 10 >= wanted)
            continue;
        is_fine = false;
        fprintf(out, "not as expected: %s %.3f %% good; expected at least %.1f %%\n",
                fg_priority_name((enum fg_priority)i), good, wanted / 10.0);
    }
    return is_fine;
}

bool fg_report_expectations(const struct fg_report *report, FILE *out)
{
    bool is_fine = check_classes(report, out);
    uint64_t most_ns = report->scenario->expect.recovery_ns;
    char took[FG_REPORT_TEXT_BYTES], most[FG_REPORT_TEXT_BYTES];
    for (size_t i = 0; i < report->tally->backend_count && most_ns > 0; i++) {
        struct fg_flood flood = fg_summary_flood(report->tally, report->config, i);
        if (!flood.is_there || (flood.is_normal && flood.normal_ns <= flood.ends_ns + most_ns))
            continue;
        is_fine = false;
        if (flood.is_normal)
            fprintf(out, "not as expected: %s normal %s after its flood; expected within %s\n",
                    report->config->backends[i].name,
                    fg_report_span(took, flood.normal_ns - flood.ends_ns),
                    fg_report_span(most, most_ns));
        else
            fprintf(out, "not as expected: %s not normal before the end; expected within %s\n",
                    report->config->backends[i].name, fg_report_span(most, most_ns));
    }
    return is_fine;
}

/* So that nobody takes a night for safe that was never tried; docs/rehearse.md says more. */
static const char not_modelled[] =
    "\nNot modelled: descriptors, kernel stalls, shares of single addresses, slow readers,\n"
    "tunnels, hedges. With --target they are real; handshakes are not, as few connections\n"
    "carry all users.\n";

void fg_report_text(const struct fg_report *report, FILE *out)
{
    print_head(report, out);
    print_bites(report, out);
    print_routes(report, out);
    print_refusals(report, out);
    if (report->target == NULL)
        print_backends(report, out);
    fprintf(out, "\nFloods and recovery\n");
    for (size_t i = 0; i < report->tally->backend_count; i++)
        print_flood(report, i, out);
    print_crowds(report, out);
    if (report->target == NULL)
        fputs(not_modelled, out);
}
