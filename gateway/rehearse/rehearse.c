/*
 * rehearse.c: reads what is to be rehearsed, runs it, and reports.
 */
#include "rehearse/rehearse.h"

#include "base/clock.h"
#include "config/text_file.h"
#include "rehearse/live/live.h"
#include "rehearse/report.h"
#include "rehearse/sim/simulation.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define BUCKETS 480
#define CONNECTIONS_USUAL 32

static void print_problem(const struct fg_error *error, void *ctx)
{
    (void)ctx;
    char text[1024];
    fg_error_format(error, text, sizeof(text));
    fprintf(stderr, "%s\n", text);
}

struct progress {
    uint64_t duration_ns;
    unsigned shown_percent;
    bool is_terminal;
    struct fg_live_progress before;
};

static bool show_simulated(void *ctx, const struct fg_simulation_progress *now)
{
    struct progress *progress = ctx;
    unsigned percent = (unsigned)(now->now_ns * 100 / progress->duration_ns);
    char at[FG_REPORT_TEXT_BYTES], users[FG_REPORT_TEXT_BYTES];
    if (!progress->is_terminal || percent == progress->shown_percent)
        return true;
    progress->shown_percent = percent;
    fprintf(stderr, "\r%3u %%  %s  %s users there ", percent, fg_report_clock(at, now->now_ns),
            fg_report_count(users, now->users_active));
    if (percent == 100)
        fprintf(stderr, "\r%60s\r", "");
    return true;
}

/* What happened in the last second; one line each where nothing can be overwritten. */
static void show_live(void *ctx, const struct fg_live_progress *now)
{
    struct progress *progress = ctx;
    char at[FG_REPORT_TEXT_BYTES], behind[FG_REPORT_TEXT_BYTES];
    uint64_t ended[FG_OUTCOME_COUNT];
    for (unsigned i = 0; i < FG_OUTCOME_COUNT; i++)
        ended[i] = now->outcomes[i] - progress->before.outcomes[i];
    fprintf(stderr,
            "%s%s  %" PRIu64 " users  %" PRIu64 "/s asked  %" PRIu64 " good  %" PRIu64
            " refused  %" PRIu64 " in line  %" PRIu64 " failed  %" PRIu64 " late  %" PRIu64
            " gave up  behind %s%s",
            progress->is_terminal ? "\r" : "", fg_report_clock(at, now->now_ns), now->users_active,
            now->offered - progress->before.offered, ended[FG_OUTCOME_GOOD],
            ended[FG_OUTCOME_REFUSED], ended[FG_OUTCOME_IN_LINE], ended[FG_OUTCOME_FAILED],
            ended[FG_OUTCOME_LATE], ended[FG_OUTCOME_GAVE_UP],
            fg_report_span(behind, now->behind_ns), progress->is_terminal ? "   " : "\n");
    progress->before = *now;
}

static bool write_html(const struct fg_report *report, const char *path)
{
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        fprintf(stderr, "floodgate: cannot write %s: %s\n", path, strerror(errno));
        return false;
    }
    bool is_written = fg_report_html(report, file);
    if (fclose(file) != 0 || !is_written) {
        fprintf(stderr, "floodgate: cannot write %s: %s\n", path, strerror(errno));
        return false;
    }
    printf("\nThe report with its plots: %s\n", path);
    return true;
}

static struct fg_tally *rehearse(const struct fg_rehearse_options *options,
                                 const struct fg_config *config, const struct fg_scenario *scenario)
{
    struct progress progress = {.duration_ns = scenario->duration_ns,
                                .is_terminal = isatty(STDERR_FILENO) == 1};
    struct fg_error error = {0};
    if (options->target == NULL) {
        struct fg_tally *tally =
            fg_simulation_run(scenario, config, BUCKETS, show_simulated, &progress);
        if (tally == NULL)
            fprintf(stderr, "floodgate: not enough memory for so many users at a time\n");
        return tally;
    }
    const struct fg_live_options live = {
        .target = options->target,
        .connections = options->connections == 0 ? CONNECTIONS_USUAL : options->connections,
        .is_insecure = options->is_insecure,
        .buckets = BUCKETS};
    struct fg_tally *tally = fg_live_run(scenario, config, &live, show_live, &progress, &error);
    if (progress.is_terminal)
        fprintf(stderr, "\n");
    if (tally == NULL)
        fprintf(stderr, "floodgate: %s\n", error.message);
    return tally;
}

static int run(const struct fg_rehearse_options *options, const struct fg_config *config,
               struct fg_scenario *scenario)
{
    uint64_t started_ns = fg_clock_monotonic_ns();
    if (options->has_seed)
        scenario->seed = options->seed;
    struct fg_tally *tally = rehearse(options, config, scenario);
    if (tally == NULL)
        return 1;
    struct fg_report report = {
        .config = config, .scenario = scenario, .tally = tally, .target = options->target};
    if (options->target == NULL) /* not in the report: that is the same for the same seed */
        fprintf(stderr, "simulated in %.1f s\n",
                (double)(fg_clock_monotonic_ns() - started_ns) / 1e9);
    fg_report_text(&report, stdout);
    bool is_written = options->report == NULL || write_html(&report, options->report);
    bool is_as_expected = fg_report_expectations(&report, stderr);
    fg_tally_destroy(tally);
    return is_written && is_as_expected ? 0 : 1;
}

/* Certificates, directories and models are not looked at: they may be on another machine. */
static bool load_config(struct fg_config **config, const char *path)
{
    struct fg_error error = {0};
    size_t errors = 0;
    size_t len = 0;
    char *text =
        fg_text_file_read(path, "the configuration", &len, error.message, sizeof(error.message));
    if (text == NULL) {
        snprintf(error.file, sizeof(error.file), "%s", path);
        print_problem(&error, NULL);
        return false;
    }
    enum fg_status status =
        fg_config_parse(config, path, fg_span_make(text, len), false, print_problem, NULL, &errors);
    fg_text_file_free(text);
    return status == FG_OK;
}

int fg_rehearse_run(const struct fg_rehearse_options *options)
{
    if (options->scenario == NULL || options->is_simulated == (options->target != NULL)) {
        fprintf(stderr, "floodgate rehearse: expected -c CONFIG --scenario FILE and either "
                        "--simulate or --target URL\n");
        return 2;
    }
    struct fg_config *config = NULL;
    struct fg_scenario *scenario = NULL;
    size_t errors = 0;
    if (!load_config(&config, options->config))
        return 2;
    int code = 2;
    if (fg_scenario_load(&scenario, options->scenario, config, print_problem, NULL, &errors) ==
        FG_OK)
        code = run(options, config, scenario);
    fg_scenario_destroy(scenario);
    fg_config_destroy(config);
    return code;
}
