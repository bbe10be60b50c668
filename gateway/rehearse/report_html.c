/*
 * report_html.c: the report as one HTML file: the text's tables and plots as inline SVG. It loads
 * nothing, so it can be mailed and opened anywhere.
 */
#include "rehearse/report.h"

#include "rehearse/summary.h"
#include "rehearse/svg_plot.h"

#include <stdlib.h>

static const char style[] =
    "<!doctype html><html lang=en><meta charset=utf-8>"
    "<meta name=viewport content=\"width=device-width\"><style>"
    ":root{color-scheme:light dark;--fg:#1b2733;--bg:#fff;--soft:#8794a1;--grid:#dde3e8}"
    "@media(prefers-color-scheme:dark){:root{--fg:#dfe6ee;--bg:#12181f;--grid:#2a343f}}"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:1060px;"
    "margin:2em auto;padding:0 1em}"
    "pre{font:12.5px/1.45 ui-monospace,monospace;overflow-x:auto;padding:1em;"
    "border:1px solid var(--grid);border-radius:6px}"
    "figure{margin:1em 0}svg{width:100%;height:auto}"
    "polyline{fill:none;stroke-width:1.4}.grid{stroke:var(--grid);stroke-width:1}"
    ".title{font-weight:600;font-size:13px;fill:var(--fg)}"
    ".tick{font-size:11px;font-weight:400;fill:var(--soft)}.key{font-size:11px}"
    "polyline.asked{stroke:#8794a1}.key.asked{fill:#8794a1}"
    "polyline.good{stroke:#1a9c5b}.key.good{fill:#1a9c5b}"
    "polyline.refused{stroke:#e0912f}.key.refused{fill:#e0912f}"
    "polyline.bad{stroke:#d64545}.key.bad{fill:#d64545}"
    "polyline.line{stroke:#4a7fd4}.key.line{fill:#4a7fd4}"
    "</style>";

enum series { ASKED, GOOD, REFUSED, BAD, IN_LINE, SERIES_COUNT };

/* Requests a second in each stretch, of one backend's routes or (SIZE_MAX) of all. */
static void sum_series(const struct fg_report *report, size_t backend, double *series)
{
    const struct fg_tally *tally = report->tally;
    double per_s = 1e9 / (double)tally->bucket_ns;
    for (size_t i = 0; i < tally->route_count; i++) {
        const struct fg_route_conf *route = &report->config->routes[i];
        if (backend != SIZE_MAX &&
            (route->action != FG_ROUTE_BACKEND || route->backend_index != backend))
            continue;
        for (size_t at = 0; at < tally->bucket_count; at++) {
            const struct fg_tally_point *point = &tally->routes[i].points[at];
            double *values = series + at;
            values[ASKED * tally->bucket_count] += point->offered * per_s;
            values[GOOD * tally->bucket_count] += point->outcomes[FG_OUTCOME_GOOD] * per_s;
            values[REFUSED * tally->bucket_count] += point->outcomes[FG_OUTCOME_REFUSED] * per_s;
            values[IN_LINE * tally->bucket_count] += point->outcomes[FG_OUTCOME_IN_LINE] * per_s;
            values[BAD * tally->bucket_count] +=
                (point->outcomes[FG_OUTCOME_FAILED] + point->outcomes[FG_OUTCOME_LATE] +
                 point->outcomes[FG_OUTCOME_GAVE_UP]) *
                per_s;
        }
    }
}

static void plot_requests(const struct fg_report *report, const char *title, size_t backend,
                          double *series, FILE *out)
{
    size_t count = report->tally->bucket_count;
    for (size_t i = 0; i < SERIES_COUNT * count; i++)
        series[i] = 0;
    sum_series(report, backend, series);
    const struct fg_svg_line lines[] = {
        {"asked", "asked", series + ASKED * count},
        {"in line", "line", series + IN_LINE * count},
        {"refused", "refused", series + REFUSED * count},
        {"failed, late, gave up", "bad", series + BAD * count},
        {"good", "good", series + GOOD * count},
    };
    fg_svg_plot(&(struct fg_svg_plot){.title = title,
                                      .unit = "requests a second",
                                      .lines = lines,
                                      .line_count = sizeof(lines) / sizeof(lines[0]),
                                      .value_count = count,
                                      .duration_ns = report->tally->duration_ns},
                out);
}

/* Simulated alone: the queue and the limit of the gate, and the backend's own line. */
static void plot_gate(const struct fg_report *report, size_t backend, double *series, FILE *out)
{
    const struct fg_tally *tally = report->tally;
    const struct fg_tally_load *loads = tally->backends[backend].loads;
    size_t count = tally->bucket_count;
    for (size_t at = 0; at < count; at++) {
        series[at] =
            loads[at].let_in == 0 ? 0 : (double)loads[at].wait_sum_ns / 1e6 / loads[at].let_in;
        series[count + at] = loads[at].limit;
        series[2 * count + at] = loads[at].in_flight;
        series[3 * count + at] = loads[at].queued;
    }
    const struct fg_svg_line wait[] = {{"mean wait of those let in", "line", series}};
    const struct fg_svg_line slots[] = {{"limit", "asked", series + count},
                                        {"in flight", "good", series + 2 * count},
                                        {"queued", "refused", series + 3 * count}};
    struct fg_svg_plot plot = {.title = "Queue before it",
                               .unit = "ms",
                               .lines = wait,
                               .line_count = 1,
                               .value_count = count,
                               .duration_ns = tally->duration_ns};
    fg_svg_plot(&plot, out);
    plot.title = "Slots";
    plot.unit = "requests";
    plot.lines = slots;
    plot.line_count = 3;
    fg_svg_plot(&plot, out);
}

static void plot_all(const struct fg_report *report, double *series, FILE *out)
{
    plot_requests(report, "All requests", SIZE_MAX, series, out);
    for (size_t i = 0; i < report->tally->backend_count; i++) {
        struct fg_flood flood = fg_summary_flood(report->tally, report->config, i);
        if (flood.peak_demand_per_s <= 0)
            continue;
        fputs("<h2>Backend ", out);
        fg_html_escape(report->config->backends[i].name, out);
        fputs("</h2>\n", out);
        plot_requests(report, "Requests on its routes", i, series, out);
        if (report->target == NULL)
            plot_gate(report, i, series, out);
    }
}

/* The text's own tables, escaped. False: no memory for them. */
static bool write_tables(const struct fg_report *report, FILE *out)
{
    char *text = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&text, &len);
    if (memory == NULL)
        return false;
    fg_report_text(report, memory);
    bool is_whole = fclose(memory) == 0;
    fputs("<pre>", out);
    if (is_whole)
        fg_html_escape(text, out);
    fputs("</pre>\n", out);
    free(text);
    return is_whole;
}

bool fg_report_html(const struct fg_report *report, FILE *out)
{
    double *series = calloc(SERIES_COUNT * report->tally->bucket_count, sizeof(double));
    if (series == NULL)
        return false;
    fputs(style, out);
    fputs("<title>", out);
    fg_html_escape(report->scenario->name, out);
    fputs("</title><h1>", out);
    fg_html_escape(report->scenario->name, out);
    fputs("</h1>\n", out);
    bool is_written = write_tables(report, out); /* what bites first is the first to be seen */
    plot_all(report, series, out);
    fputs("</html>\n", out);
    free(series);
    return is_written && ferror(out) == 0;
}
