/*
 * svg_plot.h: lines over time as inline SVG, for a page that needs nothing else.
 * Thread   any; writes to a file.
 */
#ifndef FG_REHEARSE_SVG_PLOT_H
#define FG_REHEARSE_SVG_PLOT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct fg_svg_line {
    const char *name;
    const char *class; /* of the style sheet: "asked", "good", "bad", ... */
    const double *values;
};

struct fg_svg_plot {
    const char *title;
    const char *unit;
    const struct fg_svg_line *lines;
    size_t line_count;
    size_t value_count; /* of each line, evenly over the duration */
    uint64_t duration_ns;
};

void fg_svg_plot(const struct fg_svg_plot *plot, FILE *out);

/* The text with what HTML must escape escaped. */
void fg_html_escape(const char *text, FILE *out);

#endif
