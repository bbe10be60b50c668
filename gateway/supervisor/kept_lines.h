/*
 * kept_lines.h: memory for the lines of waiting rooms that have no file.
 * Job      keep a line from one gateway process to the next, over reloads and crashes: the
 *          supervisor holds the memory, gateways inherit it by fork and map it.
 * Thread   the supervisor's only one. Never maps a line or looks into it: what can fail is in the
 *          children.
 * Memory   a descriptor a room, and two while a line moves into more room.
 *
 *    prepare --fork--> the gateway moves the line into new memory, if that is larger
 *       `-- ready: settle --> the old memory, and that of rooms which are no more, is let go
 */
#ifndef FG_SUPERVISOR_KEPT_LINES_H
#define FG_SUPERVISOR_KEPT_LINES_H

#include "config/config.h"
#include "pipeline/room_store_shared.h"

struct fg_kept_line;

/* Zeroes: none yet. */
struct fg_kept_lines {
    struct fg_kept_line *lines;
    size_t count;
    struct fg_room_memory *by_route; /* of the configuration that was prepared last */
};

/* Before a gateway with `config` is forked. What cannot be had is left out, with a line in the log:
 * then the line lives in the gateway alone. */
void fg_kept_lines_prepare(struct fg_kept_lines *kept, const struct fg_config *config);

/* The gateway that was forked last, with `config`, serves. */
void fg_kept_lines_settle(struct fg_kept_lines *kept, const struct fg_config *config);

void fg_kept_lines_fini(struct fg_kept_lines *kept);

#endif
