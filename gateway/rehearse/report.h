/*
 * report.h: the outcome of a rehearsal for people: as text, and as one HTML file that needs nothing
 * else. The same simulation gives the same bytes.
 * Thread   start-up only: it writes files.
 */
#ifndef FG_REHEARSE_REPORT_H
#define FG_REHEARSE_REPORT_H

#include "rehearse/tally.h"

#include <stdio.h>

struct fg_report {
    const struct fg_config *config;
    const struct fg_scenario *scenario;
    const struct fg_tally *tally;
    const char *target; /* NULL: simulated */
};

void fg_report_text(const struct fg_report *report, FILE *out);

/* Prints what the scenario expected and did not get. True: nothing is missing. */
bool fg_report_expectations(const struct fg_report *report, FILE *out);

/* False: writing failed. */
bool fg_report_html(const struct fg_report *report, FILE *out);

/* "1:02:03.4", "4.3 s", "12 ms": since the start, and a length of time. `text` is returned. */
#define FG_REPORT_TEXT_BYTES 32
const char *fg_report_clock(char text[FG_REPORT_TEXT_BYTES], uint64_t at_ns);
const char *fg_report_span(char text[FG_REPORT_TEXT_BYTES], uint64_t ns);
/* "12,345,678" */
const char *fg_report_count(char text[FG_REPORT_TEXT_BYTES], uint64_t count);

#endif
