/*
 * config_pages.c: a small program that prints the pages made from the configuration's tables.
 *
 *    config-pages schema > conf/floodgate.schema.json
 *    config-pages reference > docs/configuration.md
 *    config-pages effective FILE        the file with every default filled in
 */
#include "config/config.h"
#include "config/reference.h"

#include <stdio.h>
#include <string.h>

static void on_error(const struct fg_error *error, void *ctx)
{
    char line[1024];
    (void)ctx;
    fg_error_format(error, line, sizeof(line));
    fprintf(stderr, "%s\n", line);
}

static int print_json(json_t *json)
{
    if (json == NULL)
        return 1;
    int failed = json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    json_decref(json);
    return failed != 0 || putchar('\n') == EOF || fflush(stdout) != 0 ? 1 : 0;
}

static int print_effective(const char *path)
{
    struct fg_config *config = NULL;
    if (fg_config_load(&config, path, on_error, NULL, NULL) != FG_OK)
        return 2;
    int result = print_json(fg_config_to_json(config));
    fg_config_destroy(config);
    return result;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "schema") == 0)
        return print_json(fg_config_schema());
    if (argc == 2 && strcmp(argv[1], "reference") == 0) {
        fg_config_write_reference(stdout);
        return ferror(stdout) != 0 || fflush(stdout) != 0 ? 1 : 0;
    }
    if (argc == 3 && strcmp(argv[1], "effective") == 0)
        return print_effective(argv[2]);
    fprintf(stderr, "usage: config-pages schema | reference | effective FILE\n");
    return 2;
}
