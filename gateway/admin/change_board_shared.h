/*
 * change_board_shared.h: what operators have changed about endpoints, for the gateways to come.
 * Job      memory that the supervisor shares with the gateways it forks, so that a change lasts as
 *          long as the supervisor does: over reloads and crashes.
 * Protocol one robust mutex; every write has the version that it was read at, and is refused where
 *          another has written since. Sections copy and make no system call, and who dies in one
 *          has changed nothing.
 * Thread   any, in any process.
 * Memory   `max` changes, fixed at the start.
 */
#ifndef FG_ADMIN_CHANGE_BOARD_SHARED_H
#define FG_ADMIN_CHANGE_BOARD_SHARED_H

#include "proxy/endpoint_change.h"

struct fg_change_board;

/* By the supervisor, before it forks. NULL: no memory. */
struct fg_change_board *fg_change_board_create(uint32_t max);
void fg_change_board_destroy(struct fg_change_board *board);

uint32_t fg_change_board_max(const struct fg_change_board *board);
/* Another one after every write; never 0. */
uint64_t fg_change_board_version(struct fg_change_board *board);
/* `changes` has room for max; its count is set. Returns the version. */
uint64_t fg_change_board_read(struct fg_change_board *board, struct fg_endpoint_changes *changes);
/* False: somebody else has written since `version` was read. */
FG_MUST_USE bool fg_change_board_write(struct fg_change_board *board,
                                       const struct fg_endpoint_changes *changes, uint64_t version);
/* A change was refused as there is no room for it; how many were. */
void fg_change_board_note_refused(struct fg_change_board *board);
uint64_t fg_change_board_refused(struct fg_change_board *board);

#endif
