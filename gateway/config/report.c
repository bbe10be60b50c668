/*
 * report.c: keeps errors as they are found, sorts them by their place when they are told.
 * Parsing, checking and cross checking run one after the other, each over the whole file; only the
 * sort brings their findings into the order in which a person reads the file.
 */
#include "config/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct fg_config_report_entry {
    struct fg_config_report_entry *older;
    unsigned line;
    unsigned column;
    size_t number; /* order of finding; keeps the sort stable */
    char message[sizeof(((struct fg_error *)NULL)->message)];
};

void fg_config_report_init(struct fg_config_report *report, struct fg_arena *arena)
{
    *report = (struct fg_config_report){.arena = arena};
}

void fg_config_tell(const char *name, fg_config_error_fn on_error, void *ctx, size_t *error_count,
                    const char *message)
{
    struct fg_error error = {0};
    snprintf(error.file, sizeof(error.file), "%s", name);
    fg_error_set(&error, "%s", message);
    if (on_error != NULL)
        on_error(&error, ctx);
    *error_count += 1;
}

void *fg_config_alloc(struct fg_config_report *report, size_t bytes)
{
    void *block = fg_arena_try_zalloc(report->arena, bytes);
    if (block == NULL)
        report->is_exhausted = true;
    return block;
}

struct fg_span fg_config_copy(struct fg_config_report *report, struct fg_span text)
{
    struct fg_span copy = fg_arena_try_copy(report->arena, text);
    if (copy.data == NULL)
        report->is_exhausted = true;
    return copy;
}

void fg_config_report_add(struct fg_config_report *report, unsigned line, unsigned column,
                          const char *fmt, ...)
{
    report->count++;
    if (report->kept >= FG_CONFIG_ERRORS_MAX)
        return;
    struct fg_config_report_entry *entry = fg_config_alloc(report, sizeof(*entry));
    if (entry == NULL)
        return;
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(entry->message, sizeof(entry->message), fmt, args);
    va_end(args);
    if (len >= (int)sizeof(entry->message)) {
        static const char cut[] = "...";
        memcpy(entry->message + sizeof(entry->message) - sizeof(cut), cut, sizeof(cut));
    }
    /* One error is one line, whatever bytes the file put into a quoted value. */
    for (char *at = entry->message; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    }
    entry->line = line;
    entry->column = column;
    entry->number = report->kept++;
    entry->older = report->newest;
    report->newest = entry;
}

static int by_place(const void *left, const void *right)
{
    const struct fg_config_report_entry *a = *(const struct fg_config_report_entry *const *)left;
    const struct fg_config_report_entry *b = *(const struct fg_config_report_entry *const *)right;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return a->number < b->number ? -1 : 1;
}

void fg_config_report_tell(const struct fg_config_report *report, const char *name,
                           fg_config_error_fn on_error, void *ctx)
{
    if (on_error == NULL)
        return;
    const struct fg_config_report_entry *sorted[FG_CONFIG_ERRORS_MAX];
    size_t count = 0;
    for (const struct fg_config_report_entry *e = report->newest; e != NULL; e = e->older)
        sorted[count++] = e;
    qsort(sorted, count, sizeof(sorted[0]), by_place);
    struct fg_error error = {0};
    snprintf(error.file, sizeof(error.file), "%s", name);
    for (size_t i = 0; i < count; i++) {
        error.line = sorted[i]->line;
        error.column = sorted[i]->column;
        memcpy(error.message, sorted[i]->message, sizeof(error.message));
        on_error(&error, ctx);
    }
}
