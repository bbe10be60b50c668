/*
 * reload_report.c: see reload_report.h.
 */
#include "supervisor/reload_report.h"

#include <stdio.h>
#include <string.h>

static void say(struct fg_reload_report *report, enum fg_reload_kind kind)
{
    if (report->board != NULL)
        fg_reload_board_say(report->board, kind, &report->outcomes[kind]);
}

void fg_reload_report_init(struct fg_reload_report *report, uint32_t worker_count)
{
    *report = (struct fg_reload_report){.board = fg_reload_board_create()};
    for (enum fg_reload_kind kind = 0; kind < FG_RELOAD_KIND_COUNT; kind++) {
        report->outcomes[kind].generation = 1;
        report->outcomes[kind].worker_count = worker_count;
        say(report, kind);
    }
}

void fg_reload_report_fini(struct fg_reload_report *report)
{
    fg_reload_board_destroy(report->board);
    report->board = NULL;
}

void fg_reload_report_begin(struct fg_reload_report *report, enum fg_reload_kind kind)
{
    struct fg_reload_outcome *outcome = &report->outcomes[kind];
    if (report->board != NULL)
        outcome->ticket = fg_reload_board_asked(report->board, kind);
    outcome->state = kind == FG_RELOAD_CONFIG ? FG_RELOAD_STARTING : FG_RELOAD_EXCHANGING;
    outcome->workers_exchanged = 0;
    memset(outcome->text, 0, sizeof(outcome->text));
    say(report, kind);
}

static void add_line(struct fg_reload_outcome *outcome, const char *line)
{
    size_t used = strlen(outcome->text);
    if (used + strlen(line) + 2 <= sizeof(outcome->text))
        snprintf(outcome->text + used, sizeof(outcome->text) - used, "%s\n", line);
}

void fg_reload_report_error(const struct fg_error *error, void *ctx)
{
    struct fg_reload_report *report = ctx;
    char text[1024];
    fg_error_format(error, text, sizeof(text));
    fprintf(stderr, "%s\n", text);
    add_line(&report->outcomes[FG_RELOAD_CONFIG], text);
}

void fg_reload_report_fail(struct fg_reload_report *report, enum fg_reload_kind kind,
                           const char *reason)
{
    if (reason != NULL)
        add_line(&report->outcomes[kind], reason);
    report->outcomes[kind].state = FG_RELOAD_FAILED;
    say(report, kind);
}

void fg_reload_report_generation(struct fg_reload_report *report)
{
    for (enum fg_reload_kind kind = 0; kind < FG_RELOAD_KIND_COUNT; kind++)
        report->outcomes[kind].generation++;
    report->outcomes[FG_RELOAD_CONFIG].state = FG_RELOAD_EXCHANGING;
    for (enum fg_reload_kind kind = 0; kind < FG_RELOAD_KIND_COUNT; kind++)
        say(report, kind);
}

void fg_reload_report_exchange(struct fg_reload_report *report, uint32_t exchanged, bool is_done)
{
    for (enum fg_reload_kind kind = 0; kind < FG_RELOAD_KIND_COUNT; kind++) {
        struct fg_reload_outcome *outcome = &report->outcomes[kind];
        if (outcome->state != FG_RELOAD_EXCHANGING ||
            (outcome->workers_exchanged == exchanged && !is_done))
            continue;
        outcome->workers_exchanged = exchanged;
        outcome->state = is_done ? FG_RELOAD_DONE : FG_RELOAD_EXCHANGING;
        say(report, kind);
    }
}
