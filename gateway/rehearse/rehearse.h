/*
 * rehearse.h: the command `floodgate rehearse`: a described promotion against the user's own
 * configuration, in virtual time or as real traffic.
 * Thread   the main thread; it blocks until the rehearsal is over.
 */
#ifndef FG_REHEARSE_REHEARSE_H
#define FG_REHEARSE_REHEARSE_H

#include <stdbool.h>
#include <stdint.h>

struct fg_rehearse_options {
    const char *config;
    const char *scenario; /* NULL: an error */
    const char *target;   /* NULL: simulate */
    const char *report;   /* path of the HTML file; NULL: none */
    unsigned connections; /* of live traffic; 0: the usual number */
    bool is_insecure;     /* the target may have any certificate */
    bool is_simulated;
    bool has_seed; /* `seed` in place of the scenario's */
    uint64_t seed;
};

/* The exit code: 0 done, 1 failed or not as the scenario expects, 2 usage, configuration or
 * scenario error. */
int fg_rehearse_run(const struct fg_rehearse_options *options);

#endif
