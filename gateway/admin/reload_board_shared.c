/*
 * reload_board_shared.c: see reload_board_shared.h.
 * Source   the count is a sequence lock, as in Boehm, "Can Seqlocks Get Along with Programming
 *          Language Memory Models?" (MSPC 2012). The data is atomic words: each store releases the
 *          odd count before it, and a reader that acquires such a word sees that count.
 */
#include "admin/reload_board_shared.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#define TRIES_MAX 1000
#define WORD_COUNT ((sizeof(struct fg_reload_outcome) + 7) / 8)

struct slot {
    _Atomic uint64_t asked;
    _Atomic uint64_t count; /* odd: being written */
    _Atomic uint64_t words[WORD_COUNT];
};

struct fg_reload_board {
    pid_t supervisor;
    struct slot slots[FG_RELOAD_KIND_COUNT];
};

struct fg_reload_board *fg_reload_board_create(void)
{
    struct fg_reload_board *board =
        mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        return NULL;
    board->supervisor = getpid();
    return board;
}

void fg_reload_board_destroy(struct fg_reload_board *board)
{
    if (board != NULL)
        munmap(board, sizeof(*board));
}

void fg_reload_board_say(struct fg_reload_board *board, enum fg_reload_kind kind,
                         const struct fg_reload_outcome *outcome)
{
    struct slot *slot = &board->slots[kind];
    uint64_t count = atomic_load_explicit(&slot->count, memory_order_relaxed);
    assert(count % 2 == 0);
    atomic_store_explicit(&slot->count, count + 1, memory_order_relaxed);
    for (size_t i = 0; i < WORD_COUNT; i++) {
        uint64_t word = 0;
        size_t left = sizeof(*outcome) - i * 8;
        memcpy(&word, (const char *)outcome + i * 8, left < 8 ? left : 8);
        atomic_store_explicit(&slot->words[i], word, memory_order_release);
    }
    atomic_store_explicit(&slot->count, count + 2, memory_order_release);
}

uint64_t fg_reload_board_asked(const struct fg_reload_board *board, enum fg_reload_kind kind)
{
    return atomic_load_explicit(&board->slots[kind].asked, memory_order_acquire);
}

uint64_t fg_reload_board_ask(struct fg_reload_board *board, enum fg_reload_kind kind)
{
    static const int signals[FG_RELOAD_KIND_COUNT] = {SIGHUP, SIGUSR1};
    uint64_t ticket =
        atomic_fetch_add_explicit(&board->slots[kind].asked, 1, memory_order_acq_rel) + 1;
    return kill(board->supervisor, signals[kind]) == 0 ? ticket : 0;
}

bool fg_reload_board_ask_stop(const struct fg_reload_board *board)
{
    return kill(board->supervisor, SIGTERM) == 0;
}

bool fg_reload_board_read(const struct fg_reload_board *board, enum fg_reload_kind kind,
                          struct fg_reload_outcome *out)
{
    const struct slot *slot = &board->slots[kind];
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        uint64_t before = atomic_load_explicit(&slot->count, memory_order_acquire);
        if (before % 2 != 0)
            continue;
        for (size_t i = 0; i < WORD_COUNT; i++) {
            uint64_t word = atomic_load_explicit(&slot->words[i], memory_order_acquire);
            size_t left = sizeof(*out) - i * 8;
            memcpy((char *)out + i * 8, &word, left < 8 ? left : 8);
        }
        if (atomic_load_explicit(&slot->count, memory_order_relaxed) == before) {
            out->text[FG_RELOAD_TEXT_BYTES - 1] = '\0';
            return true;
        }
    }
    return false;
}

const char *fg_reload_state_name(enum fg_reload_state state)
{
    static const char *const names[] = {
        [FG_RELOAD_NONE] = "none",
        [FG_RELOAD_STARTING] = "starting",
        [FG_RELOAD_EXCHANGING] = "exchanging",
        [FG_RELOAD_DONE] = "done",
        [FG_RELOAD_FAILED] = "failed",
    };
    return names[state];
}
