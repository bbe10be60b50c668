/*
 * main.c: the command line; the only place that decides the exit code.
 *    0 fine, 1 failed, 2 usage or configuration error
 */
#include "base/clock.h"
#include "config/config.h"
#include "pipeline/jwt.h"
#include "rehearse/rehearse.h"
#include "supervisor/supervisor.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CONFIG "conf/floodgate.yaml"

struct options {
    const char *config;
    const char *user;
    uint64_t ttl_s;
    struct fg_rehearse_options rehearse;
};

struct command {
    const char *name;
    const char *help;
    int (*run)(const struct options *options);
};

static void print_config_error(const struct fg_error *error, void *ctx)
{
    (void)ctx;
    char text[1024];
    fg_error_format(error, text, sizeof(text));
    fprintf(stderr, "%s\n", text);
}

static int run_serve(const struct options *options)
{
    return fg_supervisor_run(options->config);
}

static int run_check(const struct options *options)
{
    struct fg_config *config = NULL;
    size_t error_count = 0;
    if (fg_config_load(&config, options->config, print_config_error, NULL, &error_count) != FG_OK) {
        fprintf(stderr, "%s: %zu error%s\n", options->config, error_count,
                error_count == 1 ? "" : "s");
        return 2;
    }
    printf("%s: fine: %zu listeners, %zu routes, %zu backends\n", options->config,
           config->listener_count, config->route_count, config->backend_count);
    fg_config_destroy(config);
    return 0;
}

/* A token as POST /api/session would sign it, for trying things out. */
static int print_token(const struct fg_config *config, const struct options *options)
{
    static struct fg_jwt_key key;
    struct fg_error error = {.file = ""};
    struct fg_arena_pool pool;
    struct fg_arena arena;
    if (fg_jwt_key_load(&key, &config->identity.jwt, &error) != FG_OK) {
        print_config_error(&error, NULL);
        return 2;
    }
    struct fg_jwt_signer *signer = fg_jwt_signer_create(&key);
    fg_arena_pool_init(&pool, 16);
    fg_arena_init(&arena, &pool, 32768);
    uint64_t now_s = fg_clock_wall_ns() / FG_S;
    struct fg_span token = {NULL, 0};
    if (signer != NULL)
        token = fg_jwt_sign(signer, &arena, fg_span_from_string(options->user), now_s,
                            now_s + options->ttl_s);
    if (token.data != NULL)
        printf("%.*s\n", FG_SPAN_ARGS(token));
    else
        fprintf(stderr, "floodgate: the token could not be signed\n");
    int code = token.data != NULL ? 0 : 1;
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
    fg_jwt_signer_destroy(signer);
    return code;
}

static int run_token(const struct options *options)
{
    struct fg_config *config = NULL;
    size_t error_count = 0;
    if (options->user == NULL || options->user[0] == '\0' ||
        strlen(options->user) > FG_USER_ID_BYTES_MAX) {
        fprintf(stderr, "floodgate token: --user is missing; expected --user ID of 1 to %d bytes\n",
                FG_USER_ID_BYTES_MAX);
        return 2;
    }
    if (fg_config_load(&config, options->config, print_config_error, NULL, &error_count) != FG_OK)
        return 2;
    int code = print_token(config, options);
    fg_config_destroy(config);
    return code;
}

/* The effective configuration, all defaults filled in and secrets removed. */
static int run_show(const struct options *options)
{
    struct fg_config *config = NULL;
    size_t error_count = 0;
    if (fg_config_load(&config, options->config, print_config_error, NULL, &error_count) != FG_OK)
        return 2;
    json_t *json = fg_config_to_json(config);
    int code = json == NULL || json_dumpf(json, stdout, JSON_INDENT(2)) != 0 ? 1 : 0;
    printf("\n");
    json_decref(json);
    fg_config_destroy(config);
    return code;
}

static int run_schema(const struct options *options)
{
    (void)options;
    json_t *schema = fg_config_schema();
    if (schema == NULL || json_dumpf(schema, stdout, JSON_INDENT(2)) != 0)
        return 1;
    printf("\n");
    json_decref(schema);
    return 0;
}

static int run_rehearse(const struct options *options)
{
    struct fg_rehearse_options rehearse = options->rehearse;
    rehearse.config = options->config;
    return fg_rehearse_run(&rehearse);
}

static const struct command commands[] = {
    {"serve", "run the gateway with all its processes", run_serve},
    {"check", "check the configuration and say all that is wrong with it", run_check},
    {"show", "print the effective configuration as JSON, without secrets", run_show},
    {"token", "print a bearer token for --user ID (valid for --ttl SECONDS)", run_token},
    {"rehearse", "run a described promotion against the configuration (--scenario FILE)",
     run_rehearse},
    {"schema", "print the JSON Schema of the configuration, for editors", run_schema},
};

static void print_help(FILE *out)
{
    fprintf(out, "floodgate " FG_VERSION ": an API gateway for promotion floods\n\n"
                 "usage: floodgate COMMAND [-c FILE] [options]\n\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\n  -c, --config FILE   the configuration (default " DEFAULT_CONFIG ")\n"
                 "      --user ID       whose token\n"
                 "      --ttl SECONDS   how long it is good for (default 86400)\n"
                 "      --scenario FILE what to rehearse\n"
                 "      --simulate      in virtual time, without traffic\n"
                 "      --target URL    as real traffic against a running gateway\n"
                 "      --connections N of it, HTTP/2 (default 32)\n"
                 "      --insecure      the target may have any certificate\n"
                 "      --report FILE   write the report with plots as HTML\n"
                 "      --seed N        in place of the scenario's\n"
                 "      --version       print the version\n"
                 "  -h, --help          print this\n\n"
                 "exit codes: 0 fine, 1 failed, 2 usage or configuration error\n");
}

static bool parse_ttl(const char *text, uint64_t *ttl_s)
{
    if (fg_span_parse_u64(fg_span_from_string(text), ttl_s) && *ttl_s > 0 &&
        *ttl_s <= 10ull * 366 * 86400)
        return true;
    fprintf(stderr, "floodgate: --ttl '%s' is not usable; expected seconds, 1 to ten years\n",
            text);
    return false;
}

static bool parse_seed(const char *text, struct fg_rehearse_options *rehearse)
{
    rehearse->has_seed = fg_span_parse_u64(fg_span_from_string(text), &rehearse->seed);
    if (!rehearse->has_seed)
        fprintf(stderr, "floodgate: --seed '%s' is not usable; expected a whole number\n", text);
    return rehearse->has_seed;
}

static bool parse_connections(const char *text, struct fg_rehearse_options *rehearse)
{
    uint64_t count = 0;
    if (!fg_span_parse_u64(fg_span_from_string(text), &count) || count == 0 || count > 4096) {
        fprintf(stderr, "floodgate: --connections '%s' is not usable; expected 1 to 4096\n", text);
        return false;
    }
    rehearse->connections = (unsigned)count;
    return true;
}

/* -1: go on; otherwise the exit code. */
static int parse_options(int argc, char **argv, struct options *options)
{
    static const struct option long_options[] = {{"config", required_argument, NULL, 'c'},
                                                 {"user", required_argument, NULL, 'u'},
                                                 {"ttl", required_argument, NULL, 't'},
                                                 {"version", no_argument, NULL, 'v'},
                                                 {"scenario", required_argument, NULL, 's'},
                                                 {"insecure", no_argument, NULL, 'k'},
                                                 {"connections", required_argument, NULL, 'o'},
                                                 {"simulate", no_argument, NULL, 'm'},
                                                 {"target", required_argument, NULL, 'g'},
                                                 {"report", required_argument, NULL, 'r'},
                                                 {"seed", required_argument, NULL, 'n'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "c:h", long_options, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->config = optarg;
            break;
        case 'u':
            options->user = optarg;
            break;
        case 't':
            if (!parse_ttl(optarg, &options->ttl_s))
                return 2;
            break;
        case 's':
            options->rehearse.scenario = optarg;
            break;
        case 'm':
            options->rehearse.is_simulated = true;
            break;
        case 'g':
            options->rehearse.target = optarg;
            break;
        case 'r':
            options->rehearse.report = optarg;
            break;
        case 'k':
            options->rehearse.is_insecure = true;
            break;
        case 'o':
            if (!parse_connections(optarg, &options->rehearse))
                return 2;
            break;
        case 'n':
            if (!parse_seed(optarg, &options->rehearse))
                return 2;
            break;
        case 'v':
            printf("floodgate " FG_VERSION "\n");
            return 0;
        case 'h':
            print_help(stdout);
            return 0;
        default:
            fprintf(stderr, "floodgate: see floodgate --help\n");
            return 2;
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    struct options options = {.config = DEFAULT_CONFIG, .ttl_s = 86400};
    int code = parse_options(argc, argv, &options);
    if (code != -1)
        return code;
    if (optind + 1 != argc) {
        print_help(stderr);
        return 2;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[optind], commands[i].name) == 0)
            return commands[i].run(&options);
    }
    fprintf(stderr,
            "floodgate: '%s' is not a command; expected serve, check, show, token, rehearse or "
            "schema\n",
            argv[optind]);
    return 2;
}
