/*
 * change_board_shared.c: see change_board_shared.h. Two lists, of which `version` says by its last
 * bit which is in force: a writer fills the other one and then moves on, so that one who dies in
 * the middle has changed nothing.
 */
#include "admin/change_board_shared.h"

#include "base/robust_mutex_shared.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

struct fg_change_board {
    pthread_mutex_t lock;
    size_t bytes; /* of the mapping */
    uint32_t max;
    uint64_t version;
    uint64_t refused;
    size_t counts[2];
    struct fg_endpoint_change lists[]; /* max, and max again */
};

static void lock(struct fg_change_board *board)
{
    int got = pthread_mutex_lock(&board->lock);
    if (got == EOWNERDEAD)
        got = pthread_mutex_consistent(&board->lock);
    assert(got == 0);
}

static void unlock(struct fg_change_board *board)
{
    pthread_mutex_unlock(&board->lock);
}

struct fg_change_board *fg_change_board_create(uint32_t max)
{
    size_t bytes =
        sizeof(struct fg_change_board) + 2 * (size_t)max * sizeof(struct fg_endpoint_change);
    struct fg_change_board *board =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        return NULL;
    board->bytes = bytes;
    board->max = max;
    board->version = 1;
    if (fg_robust_mutex_init(&board->lock))
        return board;
    munmap(board, bytes);
    return NULL;
}

void fg_change_board_destroy(struct fg_change_board *board)
{
    if (board != NULL)
        munmap(board, board->bytes);
}

uint32_t fg_change_board_max(const struct fg_change_board *board)
{
    return board->max;
}

uint64_t fg_change_board_version(struct fg_change_board *board)
{
    lock(board);
    uint64_t version = board->version;
    unlock(board);
    return version;
}

static struct fg_endpoint_change *list_of(struct fg_change_board *board, uint64_t version)
{
    return board->lists + version % 2 * board->max;
}

uint64_t fg_change_board_read(struct fg_change_board *board, struct fg_endpoint_changes *changes)
{
    assert(changes->max >= board->max);
    lock(board);
    uint64_t version = board->version;
    changes->count = board->counts[version % 2];
    memcpy(changes->list, list_of(board, version), changes->count * sizeof(changes->list[0]));
    unlock(board);
    return version;
}

bool fg_change_board_write(struct fg_change_board *board, const struct fg_endpoint_changes *changes,
                           uint64_t version)
{
    assert(changes->count <= board->max);
    lock(board);
    bool is_latest = board->version == version;
    if (is_latest) {
        memcpy(list_of(board, version + 1), changes->list,
               changes->count * sizeof(changes->list[0]));
        board->counts[(version + 1) % 2] = changes->count;
        board->version = version + 1;
    }
    unlock(board);
    return is_latest;
}

void fg_change_board_note_refused(struct fg_change_board *board)
{
    lock(board);
    board->refused++;
    unlock(board);
}

uint64_t fg_change_board_refused(struct fg_change_board *board)
{
    lock(board);
    uint64_t refused = board->refused;
    unlock(board);
    return refused;
}
