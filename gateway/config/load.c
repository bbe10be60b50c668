/*
 * load.c: a file or text into a snapshot, step by step; see loader.h for the steps.
 * Memory   one heap block a snapshot, and an arena with a pool of its own inside it; the bound
 * below is far above what a file of 1 MiB can need, so that reaching it means hostile input.
 */
#include "config/loader.h"
#include "config/text_file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define SNAPSHOT_BYTES_MAX ((size_t)64 << 20)

static struct fg_snapshot *snapshot_create(size_t memory_max)
{
    struct fg_snapshot *snapshot = calloc(1, sizeof(*snapshot));
    if (snapshot == NULL)
        return NULL;
    fg_arena_pool_init(&snapshot->pool, SIZE_MAX);
    fg_arena_init(&snapshot->arena, &snapshot->pool, memory_max);
    fg_config_report_init(&snapshot->report, &snapshot->arena);
    return snapshot;
}

enum fg_log_level fg_config_log_level(const struct fg_config *config)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(config->observability.log_level, names[i]) == 0)
            return (enum fg_log_level)i;
    }
    return FG_LOG_INFO;
}

void fg_config_destroy(struct fg_config *config)
{
    if (config == NULL)
        return;
    struct fg_snapshot *snapshot = (struct fg_snapshot *)config;
    fg_arena_fini(&snapshot->arena);
    fg_arena_pool_fini(&snapshot->pool);
    free(snapshot);
}

/* The directory that `name` is in; with the machine at hand, whole and free of links. */
static const char *directory_of(struct fg_snapshot *snapshot, const char *name)
{
    const char *slash = strrchr(name, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - name);
    struct fg_span directory = fg_span_make(name, slash == name ? 1 : len);
    if (slash == NULL)
        directory = FG_SPAN(".");
    struct fg_span copy = fg_config_copy(&snapshot->report, directory);
    if (copy.data == NULL || !snapshot->check_files)
        return copy.data;
    char whole[PATH_MAX];
    if (realpath(copy.data, whole) == NULL)
        return copy.data;
    return fg_config_copy(&snapshot->report, fg_span_from_string(whole)).data;
}

static void run_steps(struct fg_snapshot *snapshot, struct fg_span text)
{
    if (text.len > FG_TEXT_FILE_BYTES_MAX) {
        fg_config_report_add(&snapshot->report, 0, 0,
                             "the file is too large; expected at most 1MiB");
        return;
    }
    snapshot->root = NULL;
    struct fg_yaml_node *root = fg_yaml_tree_parse(&snapshot->report, text);
    if (root == NULL || snapshot->report.is_exhausted)
        return;
    snapshot->root = root;
    struct fg_loader loader = {.report = &snapshot->report,
                               .directory = snapshot->config.directory};
    fg_load_table(&loader, &fg_table_root, root, &snapshot->raw);
    if (snapshot->report.is_exhausted)
        return;
    fg_config_resolve(snapshot);
    if (snapshot->report.is_exhausted)
        return;
    fg_config_check_gateway(snapshot);
    fg_config_check_identity(snapshot);
    fg_config_check_backends(snapshot);
    fg_config_check_routes(snapshot);
    if (snapshot->check_files)
        fg_config_check_machine(snapshot);
}

/* Errors are told, and the snapshot is given out or destroyed. */
static enum fg_status finish(struct fg_snapshot *snapshot, struct fg_config **out, const char *name,
                             fg_config_error_fn on_error, void *ctx, size_t *error_count)
{
    enum fg_status status = FG_OK;
    fg_config_report_tell(&snapshot->report, name, on_error, ctx);
    *error_count = snapshot->report.count;
    if (snapshot->report.count > 0)
        status = FG_ERR_CONFIG;
    if (snapshot->report.is_exhausted) {
        fg_config_tell(name, on_error, ctx, error_count,
                       "the configuration needs too much memory; expected a smaller one");
        status = FG_ERR_NO_MEMORY;
    }
    if (status == FG_OK)
        *out = &snapshot->config;
    else
        fg_config_destroy(&snapshot->config);
    return status;
}

enum fg_status fg_config_parse_bounded(struct fg_config **out, const char *name,
                                       struct fg_span text, bool check_files,
                                       fg_config_error_fn on_error, void *ctx, size_t *error_count,
                                       size_t memory_max)
{
    size_t ignored = 0;
    if (error_count == NULL)
        error_count = &ignored;
    *out = NULL;
    *error_count = 0;
    struct fg_snapshot *snapshot = snapshot_create(memory_max);
    if (snapshot == NULL) {
        fg_config_tell(name, on_error, ctx, error_count, "out of memory");
        return FG_ERR_NO_MEMORY;
    }
    snapshot->check_files = check_files;
    snapshot->config.file = fg_config_copy(&snapshot->report, fg_span_from_string(name)).data;
    snapshot->config.directory = directory_of(snapshot, name);
    if (!snapshot->report.is_exhausted)
        run_steps(snapshot, text);
    return finish(snapshot, out, name, on_error, ctx, error_count);
}

enum fg_status fg_config_parse(struct fg_config **out, const char *name, struct fg_span text,
                               bool check_files, fg_config_error_fn on_error, void *ctx,
                               size_t *error_count)
{
    return fg_config_parse_bounded(out, name, text, check_files, on_error, ctx, error_count,
                                   SNAPSHOT_BYTES_MAX);
}

enum fg_status fg_config_load(struct fg_config **out, const char *path, fg_config_error_fn on_error,
                              void *ctx, size_t *error_count)
{
    size_t ignored = 0;
    if (error_count == NULL)
        error_count = &ignored;
    *out = NULL;
    *error_count = 0;
    char message[128];
    size_t len = 0;
    char *text = fg_text_file_read(path, "the configuration", &len, message, sizeof(message));
    if (text == NULL) {
        fg_config_tell(path, on_error, ctx, error_count, message);
        return FG_ERR_CONFIG;
    }
    enum fg_status status =
        fg_config_parse(out, path, fg_span_make(text, len), true, on_error, ctx, error_count);
    fg_text_file_free(text);
    return status;
}
