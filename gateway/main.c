/*
 * main.c: the command line; the only place that decides the exit code.
 *    0 fine, 1 failed, 2 usage or configuration error
 */
#include "admin/admin_client.h"
#include "admin/explain_command.h"
#include "admin/kv_report.h"
#include "admin/reload_command.h"
#include "config/config.h"
#include "rehearse/rehearse.h"
#include "supervisor/supervisor.h"
#include "supervisor/worker_program.h"
#include "token_command.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CONFIG "conf/floodgate.yaml"

struct options {
    const char *config;
    struct fg_token_options token;
    const char *request_id; /* the word behind `explain` */
    struct fg_rehearse_options rehearse;
    struct fg_reload_options reload;
};

struct command {
    const char *name;
    const char *operand; /* what has to stand behind it, with a blank before; or nothing */
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

static int run_token(const struct options *options)
{
    struct fg_config *config = NULL;
    size_t error_count = 0;
    if (!fg_token_command_check(&options->token))
        return 2;
    if (fg_config_load(&config, options->config, print_config_error, NULL, &error_count) != FG_OK)
        return 2;
    int code = fg_token_command_run(config, &options->token);
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

static int run_explain(const struct options *options)
{
    struct fg_config *config = NULL;
    size_t error_count = 0;
    if (options->request_id == NULL) {
        fprintf(stderr, "floodgate explain: the request id is missing; expected the x-request-id "
                        "of an answer\n");
        return 2;
    }
    if (fg_config_load(&config, options->config, print_config_error, NULL, &error_count) != FG_OK)
        return 2;
    int code = fg_explain_run(config->admin.address, options->request_id);
    fg_config_destroy(config);
    return code;
}

/* What the running gateway's inference pool holds in memory. */
static int run_kv(const struct options *options)
{
    struct fg_config *config = NULL;
    size_t error_count = 0;
    struct fg_error error = {.file = ""};
    json_t *stats = NULL;
    if (fg_config_load(&config, options->config, print_config_error, NULL, &error_count) != FG_OK)
        return 2;
    int code = 1;
    if (config->admin.address == NULL) {
        fprintf(stderr, "floodgate: the configuration has no admin.address to ask\n");
    } else if (fg_admin_get(config->admin.address, "/stats", &stats, &error) != FG_OK) {
        fprintf(stderr, "floodgate: %s\n", error.message);
    } else {
        fg_kv_report(stdout, stats);
        code = 0;
    }
    json_decref(stats);
    fg_config_destroy(config);
    return code;
}

/* The file is checked here first: what is wrong with it is said without asking anybody. */
static int run_reload(const struct options *options)
{
    struct fg_config *config = NULL;
    size_t error_count = 0;
    if (fg_config_load(&config, options->config, print_config_error, NULL, &error_count) != FG_OK)
        return 2;
    int code = 1;
    if (config->admin.address == NULL)
        fprintf(stderr, "floodgate: the configuration has no admin.address to ask\n");
    else
        code = fg_reload_command_run(config->admin.address, &options->reload);
    fg_config_destroy(config);
    return code;
}

static const struct command commands[] = {
    {"serve", "", "run the gateway with all its processes", run_serve},
    {"check", "", "check the configuration and say all that is wrong with it", run_check},
    {"show", "", "print the effective configuration as JSON, without secrets", run_show},
    {"reload", "", "put the configuration into force, or new workers alone (--workers)",
     run_reload},
    {"kv", "", "print what the running inference pool holds in memory", run_kv},
    {"token", "", "print a bearer token, an API key, or a request's signature", run_token},
    {"rehearse", "", "run a described promotion against the configuration (--scenario FILE)",
     run_rehearse},
    {"explain", " REQUEST_ID", "print what was decided about a recent request (explain REQUEST_ID)",
     run_explain},
    {"schema", "", "print the JSON Schema of the configuration, for editors", run_schema},
};

static const struct command *command_named(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    }
    fprintf(stderr, "floodgate: '%s' is not a command; expected", name);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(stderr, "%s %s", i == 0 ? "" : ",", commands[i].name);
    fprintf(stderr, "\n");
    return NULL;
}

/* A line of help about an option, and the command that it is for; NULL: for all. */
static const struct option_help {
    const char *command;
    const char *text;
} option_helps[] = {
    {NULL, "  -c, --config FILE   the configuration (default " DEFAULT_CONFIG ")\n"},
    {"token", "      --user ID       whose token, or whose API key\n"
              "      --ttl SECONDS   how long the token is good for (default 86400)\n"
              "      --api-key       a new API key in place of a token\n"
              "      --sign KEY      the signature field of one request, by that signing key,\n"
              "                      of --url URL, --method METHOD (GET) and --body FILE (none)\n"},
    {"rehearse", "      --scenario FILE what to rehearse\n"
                 "      --simulate      in virtual time, without traffic\n"
                 "      --target URL    as real traffic against a running gateway\n"
                 "      --connections N of it, HTTP/2 (default 32)\n"
                 "      --insecure      the target may have any certificate\n"
                 "      --report FILE   write the report with plots as HTML\n"
                 "      --seed N        in place of the scenario's\n"},
    {"reload", "      --workers       replace the inference workers, one by one, and nothing else\n"
               "      --wait SECONDS  for the outcome of a reload (default 120)\n"},
    {NULL, "      --version       print the version\n"
           "  -h, --help          print this, or what there is to know of COMMAND\n"},
};

/* Of one command; NULL: of all. */
static void print_help(FILE *out, const struct command *of)
{
    if (of != NULL) {
        fprintf(out, "floodgate %s: %s\n\nusage: floodgate %s%s [-c FILE] [options]\n\n", of->name,
                of->help, of->name, of->operand);
    } else {
        fprintf(out, "floodgate " FG_VERSION ": an API gateway for promotion floods\n\n"
                     "usage: floodgate COMMAND [-c FILE] [options]\n\n");
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
            fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
        fprintf(out, "\n");
    }
    for (size_t i = 0; i < sizeof(option_helps) / sizeof(option_helps[0]); i++) {
        const char *command = option_helps[i].command;
        if (of == NULL || command == NULL || strcmp(command, of->name) == 0)
            fprintf(out, "%s", option_helps[i].text);
    }
    fprintf(out, "\nexit codes: 0 fine, 1 failed, 2 usage or configuration error\n");
}

/* Asked for with a word beside it: about that command, which has to be one. */
static int give_help(const char *word)
{
    const struct command *command = word == NULL ? NULL : command_named(word);
    if (word != NULL && command == NULL)
        return 2;
    print_help(stdout, command);
    return 0;
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

static bool parse_wait(const char *text, uint64_t *wait_s)
{
    if (fg_span_parse_u64(fg_span_from_string(text), wait_s) && *wait_s > 0 && *wait_s <= 86400)
        return true;
    fprintf(stderr, "floodgate: --wait '%s' is not usable; expected seconds, 1 to a day\n", text);
    return false;
}

/* False: it is none of `token`'s. */
static bool set_token_option(int option, struct fg_token_options *token)
{
    switch (option) {
    case 'u':
        token->user = optarg;
        return true;
    case 'a':
        token->is_api_key = true;
        return true;
    case 'i':
        token->sign = optarg;
        return true;
    case 'e':
        token->method = optarg;
        return true;
    case 'l':
        token->url = optarg;
        return true;
    case 'b':
        token->body = optarg;
        return true;
    default:
        return false;
    }
}

/* -1: go on; otherwise the exit code. */
static int parse_options(int argc, char **argv, struct options *options)
{
    static const struct option long_options[] = {
        {"config", required_argument, NULL, 'c'}, {"user", required_argument, NULL, 'u'},
        {"ttl", required_argument, NULL, 't'},    {"api-key", no_argument, NULL, 'a'},
        {"sign", required_argument, NULL, 'i'},   {"method", required_argument, NULL, 'e'},
        {"url", required_argument, NULL, 'l'},    {"body", required_argument, NULL, 'b'},
        {"version", no_argument, NULL, 'v'},      {"scenario", required_argument, NULL, 's'},
        {"insecure", no_argument, NULL, 'k'},     {"connections", required_argument, NULL, 'o'},
        {"simulate", no_argument, NULL, 'm'},     {"target", required_argument, NULL, 'g'},
        {"report", required_argument, NULL, 'r'}, {"seed", required_argument, NULL, 'n'},
        {"workers", no_argument, NULL, 'w'},      {"wait", required_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    int option;
    bool wants_help = false;
    while ((option = getopt_long(argc, argv, "c:h", long_options, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->config = optarg;
            break;
        case 't':
            if (!parse_ttl(optarg, &options->token.ttl_s))
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
        case 'w':
            options->reload.workers_only = true;
            break;
        case 'q':
            if (!parse_wait(optarg, &options->reload.wait_s))
                return 2;
            break;
        case 'v':
            printf("floodgate " FG_VERSION "\n");
            return 0;
        case 'h':
            wants_help = true;
            break;
        default:
            if (set_token_option(option, &options->token))
                break;
            fprintf(stderr, "floodgate: see floodgate --help\n");
            return 2;
        }
    }
    return wants_help ? give_help(argv[optind]) : -1; /* getopt has put words behind options */
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "worker") == 0)
        return fg_worker_program_main(argc, argv); /* internal: no options */
    /* Before any option: help on a command that is none must not read as if it were one. */
    if (argc > 1 && argv[1][0] != '-' && command_named(argv[1]) == NULL)
        return 2;
    struct options options = {.config = DEFAULT_CONFIG,
                              .token = {.ttl_s = 86400, .method = "GET"},
                              .reload = {.wait_s = 120}};
    int code = parse_options(argc, argv, &options);
    if (code != -1)
        return code;
    if (optind + 2 == argc && strcmp(argv[optind], "explain") == 0) {
        options.request_id = argv[optind + 1];
    } else if (optind + 1 != argc) {
        print_help(stderr, NULL);
        return 2;
    }
    const struct command *command = command_named(argv[optind]);
    return command == NULL ? 2 : command->run(&options);
}
