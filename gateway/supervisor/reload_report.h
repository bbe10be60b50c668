/*
 * reload_report.h: what the supervisor tells those who ask for reloads.
 * Job      one outcome for each kind, kept up to date on the board that gateways read.
 * Thread   the supervisor's only one.
 * Memory   fixed; a failure's lines are cut to what the board holds.
 *
 *    begin --> starting --> exchanging --> done        begin --> failed, with the reason
 */
#ifndef FG_SUPERVISOR_RELOAD_REPORT_H
#define FG_SUPERVISOR_RELOAD_REPORT_H

#include "admin/reload_board_shared.h"
#include "base/status.h"

struct fg_reload_report {
    struct fg_reload_board *board; /* NULL: no memory for one; nobody is told */
    struct fg_reload_outcome outcomes[FG_RELOAD_KIND_COUNT];
};

/* Before the first fork. */
void fg_reload_report_init(struct fg_reload_report *report, uint32_t worker_count);
void fg_reload_report_fini(struct fg_reload_report *report);

/* One begins, for all who have asked until now. */
void fg_reload_report_begin(struct fg_reload_report *report, enum fg_reload_kind kind);
/* A line about what is wrong; for fg_config_load, with the report as ctx. It goes to stderr, too.
 */
void fg_reload_report_error(const struct fg_error *error, void *report);
/* All stays as it was; `reason` NULL: the lines say it. */
void fg_reload_report_fail(struct fg_reload_report *report, enum fg_reload_kind kind,
                           const char *reason);
/* The new configuration is in force. */
void fg_reload_report_generation(struct fg_reload_report *report);
/* Workers are being replaced, `exchanged` of them are; done when `is_done`. */
void fg_reload_report_exchange(struct fg_reload_report *report, uint32_t exchanged, bool is_done);

#endif
