/*
 * reload_command.c: POST /reload, then GET /reload until the outcome is there. While gateways
 * change, either may answer: both know the same.
 */
#include "admin/reload_command.h"

#include "admin/admin_client.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define POLL_MS 50

static void pause_a_little(void)
{
    struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    nanosleep(&pause, NULL);
}

static uint64_t number_of(const json_t *outcome, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(outcome, key));
    return value < 0 ? 0 : (uint64_t)value;
}

static int say_done(const json_t *outcome)
{
    printf("floodgate: done: configuration generation %llu, %llu workers exchanged\n",
           (unsigned long long)number_of(outcome, "generation"),
           (unsigned long long)number_of(outcome, "workers_exchanged"));
    return 0;
}

/* -1: not yet. */
static int judge(const json_t *outcome, uint64_t ticket)
{
    const char *state = json_string_value(json_object_get(outcome, "state"));
    const char *text = json_string_value(json_object_get(outcome, "text"));
    if (state == NULL || number_of(outcome, "ticket") < ticket)
        return -1;
    if (strcmp(state, "done") == 0)
        return say_done(outcome);
    if (strcmp(state, "failed") != 0)
        return -1;
    fprintf(stderr, "%sfloodgate: not reloaded; the configuration of before goes on\n",
            text == NULL ? "" : text);
    return 2;
}

static int give_up(const json_t *last, uint64_t wait_s)
{
    const char *state = json_string_value(json_object_get(last, "state"));
    fprintf(stderr,
            "floodgate: the reload is not done after %llu s (%s; %llu of %llu workers exchanged); "
            "it goes on, see the log\n",
            (unsigned long long)wait_s, state == NULL ? "no answer" : state,
            (unsigned long long)number_of(last, "workers_exchanged"),
            (unsigned long long)number_of(last, "workers"));
    return 1;
}

int fg_reload_command_run(const char *address, const struct fg_reload_options *options)
{
    const char *kind = options->workers_only ? "workers" : "config";
    const char *path = options->workers_only ? "/reload?workers" : "/reload";
    struct fg_error error = {.file = ""};
    json_t *page = NULL;
    if (fg_admin_post(address, path, &page, &error) != FG_OK) {
        fprintf(stderr, "floodgate: %s\n", error.message);
        return 1;
    }
    uint64_t ticket = number_of(page, "ticket");
    uint64_t ends_ns = fg_clock_monotonic_ns() + options->wait_s * FG_S;
    int code = -1;
    while (code == -1 && fg_clock_monotonic_ns() < ends_ns) {
        json_t *next = NULL;
        pause_a_little();
        /* A gateway that is being replaced may close without an answer. */
        if (fg_admin_get(address, "/reload", &next, &error) != FG_OK)
            continue;
        json_decref(page);
        page = next;
        code = judge(json_object_get(page, kind), ticket);
    }
    if (code == -1)
        code = give_up(json_object_get(page, kind), options->wait_s);
    json_decref(page);
    return code;
}
