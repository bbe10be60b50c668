/*
 * svg_plot.c: a frame, ticks at round numbers, a polyline each.
 */
#include "rehearse/svg_plot.h"

#include <math.h>

#define WIDTH 860
#define HEIGHT 220
#define LEFT 64
#define RIGHT 12
#define TOP 26
#define BOTTOM 26
#define TICKS 4

void fg_html_escape(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(*text, out);
        }
    }
}

/* The smallest round number that is not below. */
static double round_up(double value)
{
    static const double steps[] = {1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10};
    if (value <= 0)
        return 1;
    double power = pow(10, floor(log10(value)));
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (steps[i] * power >= value * (1 - 1e-9))
            return steps[i] * power;
    }
    return 10 * power;
}

static double highest(const struct fg_svg_plot *plot)
{
    double most = 0;
    for (size_t i = 0; i < plot->line_count; i++) {
        for (size_t j = 0; j < plot->value_count; j++)
            most = plot->lines[i].values[j] > most ? plot->lines[i].values[j] : most;
    }
    return most;
}

static void draw_ticks(const struct fg_svg_plot *plot, double step, FILE *out)
{
    double height = HEIGHT - TOP - BOTTOM;
    for (int i = 0; i <= TICKS; i++) {
        double y = HEIGHT - BOTTOM - height * i / TICKS;
        fprintf(out,
                "<line class=grid x1=%d x2=%d y1=%.1f y2=%.1f />"
                "<text class=tick x=%d y=%.1f text-anchor=end>%g</text>",
                LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, step * i);
    }
    double duration_s = (double)plot->duration_ns / 1e9;
    double unit = duration_s >= 7200 ? 3600 : duration_s >= 300 ? 60 : 1;
    const char *name = duration_s >= 7200 ? "h" : duration_s >= 300 ? "min" : "s";
    double every = round_up(duration_s / unit / 8);
    for (double at = 0; at <= duration_s / unit * 1.001; at += every)
        fprintf(out, "<text class=tick x=%.1f y=%d text-anchor=middle>%g %s</text>",
                LEFT + (WIDTH - LEFT - RIGHT) * at * unit / duration_s, HEIGHT - 8, at, name);
}

static void draw_line(const struct fg_svg_plot *plot, const struct fg_svg_line *line, double most,
                      FILE *out)
{
    fprintf(out, "<polyline class=%s points=\"", line->class);
    for (size_t i = 0; i < plot->value_count; i++) {
        double x = LEFT + (WIDTH - LEFT - RIGHT) * ((double)i + 0.5) / (double)plot->value_count;
        double y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * line->values[i] / most;
        fprintf(out, "%.1f,%.1f ", x, y);
    }
    fputs("\"/>", out);
}

void fg_svg_plot(const struct fg_svg_plot *plot, FILE *out)
{
    double step = round_up(highest(plot) / TICKS);
    fprintf(out, "<figure><svg viewBox=\"0 0 %d %d\" role=img>", WIDTH, HEIGHT);
    fputs("<text class=title x=12 y=16>", out);
    fg_html_escape(plot->title, out);
    fprintf(out, " <tspan class=tick>%s</tspan></text>", plot->unit);
    draw_ticks(plot, step, out);
    int x = WIDTH - RIGHT;
    for (size_t i = plot->line_count; i-- > 0;) {
        draw_line(plot, &plot->lines[i], step * TICKS, out);
        x -= 9 * (int)(16 + 7 * snprintf(NULL, 0, "%s", plot->lines[i].name)) / 9;
        fprintf(out, "<text class=\"key %s\" x=%d y=16>%s</text>", plot->lines[i].class, x,
                plot->lines[i].name);
    }
    fputs("</svg></figure>\n", out);
}
