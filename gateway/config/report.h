/*
 * report.h: the errors of one configuration, gathered while it is read and told in file order.
 * Thread   the loader's.
 * Memory   at most FG_CONFIG_ERRORS_MAX errors are kept, in the snapshot's arena; all are counted.
 */
#ifndef FG_CONFIG_REPORT_H
#define FG_CONFIG_REPORT_H

#include "config/config.h"

#define FG_CONFIG_ERRORS_MAX 200

struct fg_config_report_entry;

struct fg_config_report {
    struct fg_arena *arena;
    struct fg_config_report_entry *newest;
    size_t kept;
    size_t count;      /* of all errors, kept or not */
    bool is_exhausted; /* the arena was: what was read cannot be trusted to be complete */
};

void fg_config_report_init(struct fg_config_report *report, struct fg_arena *arena);

/* Line and column count from 1; 0 where the place is not known. The text is cut to fg_error's. */
void fg_config_report_add(struct fg_config_report *report, unsigned line, unsigned column,
                          const char *fmt, ...) FG_PRINTF(4, 5);

/* Calls on_error (may be NULL) for each kept error in file order, naming the file `name`. */
void fg_config_report_tell(const struct fg_config_report *report, const char *name,
                           fg_config_error_fn on_error, void *ctx);

/* One error that no report holds: the file as a whole is `name`, and *error_count is one more. */
void fg_config_tell(const char *name, fg_config_error_fn on_error, void *ctx, size_t *error_count,
                    const char *message);

/* Zeroed memory of the snapshot; NULL marks the report exhausted, and the load fails in the end. */
void *fg_config_alloc(struct fg_config_report *report, size_t bytes);

/* A copy with a NUL behind it; data is NULL as above. */
struct fg_span fg_config_copy(struct fg_config_report *report, struct fg_span text);

#endif
