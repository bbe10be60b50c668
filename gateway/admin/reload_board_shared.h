/*
 * reload_board_shared.h: what the supervisor says about reloads, and what it is asked for: one page
 * of memory that it shares with the gateways it forks.
 * Protocol the supervisor alone writes outcomes, under a count that is odd while it does; readers
 *          copy and look again when the count has moved. Whoever asks takes the next ticket and
 *          sends the supervisor a signal; an outcome names the last ticket that it answers.
 * Thread   ask and read: any, in any process; say: the supervisor's only one.
 * Never    lets a reader wait for a writer that died: it gives up after some tries.
 */
#ifndef FG_ADMIN_RELOAD_BOARD_SHARED_H
#define FG_ADMIN_RELOAD_BOARD_SHARED_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum fg_reload_kind {
    FG_RELOAD_CONFIG,  /* the configuration, and workers with it: SIGHUP */
    FG_RELOAD_WORKERS, /* new worker processes alone: SIGUSR1 */
    FG_RELOAD_KIND_COUNT,
};

enum fg_reload_state {
    FG_RELOAD_NONE,       /* none since the start */
    FG_RELOAD_STARTING,   /* a gateway with the new configuration starts */
    FG_RELOAD_EXCHANGING, /* workers are replaced one by one */
    FG_RELOAD_DONE,
    FG_RELOAD_FAILED, /* `text` says why; all is as before */
};

#define FG_RELOAD_TEXT_BYTES 8192

struct fg_reload_outcome {
    uint64_t ticket; /* of the last one who asked before it began */
    enum fg_reload_state state;
    uint64_t generation; /* of the configuration in force; 1 at the start */
    uint32_t workers_exchanged;
    uint32_t worker_count;
    char text[FG_RELOAD_TEXT_BYTES]; /* lines, cut where there are too many */
};

struct fg_reload_board;

/* By the supervisor (this process), before it forks. NULL: no memory. */
struct fg_reload_board *fg_reload_board_create(void);
void fg_reload_board_destroy(struct fg_reload_board *board);

void fg_reload_board_say(struct fg_reload_board *board, enum fg_reload_kind kind,
                         const struct fg_reload_outcome *outcome);
/* The last ticket that was taken. */
uint64_t fg_reload_board_asked(const struct fg_reload_board *board, enum fg_reload_kind kind);

/* Ask the supervisor; returns the ticket, or 0 when it is not there. */
uint64_t fg_reload_board_ask(struct fg_reload_board *board, enum fg_reload_kind kind);
/* Ask the supervisor to drain all and end, as SIGTERM does. False: it is not there. */
bool fg_reload_board_ask_stop(const struct fg_reload_board *board);
/* False: the outcome could not be read now. */
bool fg_reload_board_read(const struct fg_reload_board *board, enum fg_reload_kind kind,
                          struct fg_reload_outcome *out);

/* "none", "starting", ...: constant. */
const char *fg_reload_state_name(enum fg_reload_state state);

#endif
