/*
 * config_fixture.h: what the tests of the configuration share: parse a text, keep its errors.
 */
#ifndef FG_TEST_CONFIG_FIXTURE_H
#define FG_TEST_CONFIG_FIXTURE_H

#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CONFIG_ERRORS_KEPT 256

struct config_errors {
    char lines[CONFIG_ERRORS_KEPT][800]; /* as they are printed */
    size_t count;                        /* calls of on_error */
    size_t reported_count;               /* what the call returned */
    enum fg_status status;
};

/* Both give the snapshot or NULL; the caller destroys it. Files are not looked at by the first. */
struct fg_config *parse_text(const char *yaml, struct config_errors *errors);
struct fg_config *load_file(const char *path, struct config_errors *errors);

void keep_error(const struct fg_error *error, void *ctx);

/* The sections that there must be, for texts that are about others. */
#define LISTENERS "listeners: [{address: \"127.0.0.1:8443\", kind: plain}]\n"
#define ROUTES "routes: [{match: {prefix: /}, respond: {status: 200}}]\n"
#define CASE_ERRORS_MAX 12

/* A text with mistakes, and the lines that tell of them. */
struct error_case {
    const char *name;
    const char *yaml;
    const char *errors[CASE_ERRORS_MAX]; /* NULL ends them */
};

/* Parses each and compares its errors. */
void run_error_cases(const struct error_case *cases, size_t count);
#define RUN_ERROR_CASES(cases) run_error_cases(cases, sizeof(cases) / sizeof((cases)[0]))

/* The whole file as a string, from the heap. */
char *read_whole(const char *path);

#endif
