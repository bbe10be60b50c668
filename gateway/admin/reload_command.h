/*
 * reload_command.h: `floodgate reload`: ask the running gateway's supervisor, wait, say what came
 * of it.
 */
#ifndef FG_ADMIN_RELOAD_COMMAND_H
#define FG_ADMIN_RELOAD_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

struct fg_reload_options {
    bool workers_only; /* new inference workers, the same configuration */
    uint64_t wait_s;   /* longest wait for the outcome */
};

/* The exit code: 0 done; 1 nobody there, or not done in time; 2 refused, and why is on stderr. */
int fg_reload_command_run(const char *address, const struct fg_reload_options *options);

#endif
