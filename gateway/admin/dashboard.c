/*
 * dashboard.c: the table from path to embedded file.
 * Thread   any; constants, made by scripts/embed.py from gateway/admin/dashboard/.
 */
#include "dashboard.h"

#include "dashboard_files.inc" /* fg_embedded_NAME, each with a NUL behind it */

#define BODY(name)                                                                                 \
    {                                                                                              \
        (const char *)fg_embedded_##name, sizeof(fg_embedded_##name) - 1                           \
    }
#define HTML FG_SPAN_LITERAL("text/html; charset=utf-8")
#define CSS FG_SPAN_LITERAL("text/css; charset=utf-8")
#define SCRIPT FG_SPAN_LITERAL("text/javascript; charset=utf-8")
#define SVG FG_SPAN_LITERAL("image/svg+xml")

static const struct {
    struct fg_span path;
    struct fg_dashboard_file file;
} files[] = {
    {FG_SPAN_LITERAL("/"), {HTML, BODY(page)}},
    {FG_SPAN_LITERAL("/dashboard.css"), {CSS, BODY(style)}},
    {FG_SPAN_LITERAL("/dashboard.js"), {SCRIPT, BODY(script)}},
    {FG_SPAN_LITERAL("/favicon.svg"), {SVG, BODY(icon)}},
    {FG_SPAN_LITERAL("/uplot.css"), {CSS, BODY(uplot_style)}},
    {FG_SPAN_LITERAL("/uplot.js"), {SCRIPT, BODY(uplot_script)}},
};

const struct fg_dashboard_file *fg_dashboard_find(struct fg_span path)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (fg_span_equal(files[i].path, path))
            return &files[i].file;
    }
    return NULL;
}
