/*
 * room_store_shared.c: see room_store_shared.h.
 */
#include "room_store_shared.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/robust_mutex_shared.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x31656e696c2d6766) /* "fg-line1" */
#define OPENING 0                          /* bytes of the file that are locked */
#define OPEN 1

struct head {
    uint64_t magic;
    uint64_t head_bytes; /* another one: of a program with another layout */
    uint64_t capacity;
    pthread_mutex_t lock;
    struct fg_waiting_room_line line;
};

struct fg_room_store {
    struct head *head;
    size_t bytes;
    int fd;                      /* -1: memory of this process */
    bool has_pace;               /* false: a file of an earlier version ends before it */
    struct fg_waiting_room room; /* guarded by head->lock */
};

/* Where the pace begins, behind the places. */
static size_t pace_at(uint64_t capacity)
{
    return (sizeof(struct head) + fg_room_places_bytes(capacity) + 7) / 8 * 8;
}

static size_t bytes_for(uint64_t capacity)
{
    return pace_at(capacity) + sizeof(struct fg_admit_rate);
}

struct fg_waiting_room *fg_room_store_lock(struct fg_room_store *store)
{
    int got = pthread_mutex_lock(&store->head->lock);
    if (got == EOWNERDEAD) {
        fg_waiting_room_repair(&store->room);
        got = pthread_mutex_consistent(&store->head->lock);
    }
    assert(got == 0);
    return &store->room;
}

void fg_room_store_unlock(struct fg_room_store *store)
{
    pthread_mutex_unlock(&store->head->lock);
}

struct fg_admit_rate *fg_room_store_pace(struct fg_room_store *store)
{
    return (struct fg_admit_rate *)((char *)store->head + pace_at(store->head->capacity));
}

/* ---- a new line ---- */

static bool begin_line(struct fg_room_store *store, uint64_t capacity,
                       const struct fg_waiting_room_config *config, uint64_t now_ns)
{
    uint64_t seeds[2];
    if (getrandom(seeds, sizeof(seeds), 0) != sizeof(seeds) ||
        !fg_robust_mutex_init(&store->head->lock))
        return false;
    memset(store->head + 1, 0, bytes_for(capacity) - sizeof(struct head));
    store->has_pace = true;
    fg_waiting_room_init(&store->room, &store->head->line, store->head + 1, capacity, config,
                         seeds[0], seeds[1], now_ns);
    store->head->head_bytes = sizeof(struct head);
    store->head->capacity = capacity;
    store->head->magic = MAGIC;
    return true;
}

static bool map_memory(struct fg_room_store *store, uint64_t capacity)
{
    store->bytes = bytes_for(capacity);
    int flags = store->fd == -1 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void *memory = mmap(NULL, store->bytes, PROT_READ | PROT_WRITE, flags, store->fd, 0);
    store->head = memory == MAP_FAILED ? NULL : memory;
    return memory != MAP_FAILED;
}

/* ---- the file ---- */

static bool lock_byte(int fd, short kind, off_t byte, bool is_waiting)
{
    struct flock lock = {.l_type = kind, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, is_waiting ? F_OFD_SETLKW : F_OFD_SETLK, &lock) == 0;
}

/* Is it still what lies under that name? Somebody may have put a larger one in its place. */
static bool is_current(int fd, const char *file)
{
    struct stat ours, named;
    return fstat(fd, &ours) == 0 && stat(file, &named) == 0 && ours.st_ino == named.st_ino &&
           ours.st_dev == named.st_dev;
}

/* Opened and locked for opening; -1 with errno. */
static int open_locked(const char *file, int flags)
{
    for (;;) {
        int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);
        if (fd == -1)
            return -1;
        bool is_locked = lock_byte(fd, F_WRLCK, OPENING, true);
        if (is_locked && is_current(fd, file))
            return fd;
        int failure = errno;
        close(fd);
        errno = failure;
        if (!is_locked)
            return -1;
    }
}

enum found { FOUND_NOTHING, FOUND_LINE, FOUND_BAD_LINE, FOUND_STRANGER };

/* Take over the line that is there. A file is locked for opening; of memory the mutex is always
 * that of somebody who lives, or died just now. */
static enum found take_over(struct fg_room_store *store, bool is_file, uint64_t now_ns)
{
    struct stat status;
    struct head head;
    if (fstat(store->fd, &status) == -1)
        return FOUND_STRANGER;
    if (status.st_size == 0)
        return FOUND_NOTHING;
    if (pread(store->fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head) || head.magic != MAGIC)
        return FOUND_STRANGER;
    if (head.head_bytes != sizeof(head) || head.capacity == 0 ||
        head.capacity % FG_ROOM_BLOCK_PLACES != 0 || head.capacity > UINT64_MAX / 4 ||
        (uint64_t)status.st_size < sizeof(head) + fg_room_places_bytes(head.capacity) ||
        !map_memory(store, head.capacity))
        return FOUND_BAD_LINE;
    store->has_pace = (uint64_t)status.st_size >= bytes_for(head.capacity);
    bool is_alone = is_file && lock_byte(store->fd, F_WRLCK, OPEN, false);
    if (is_alone && !fg_robust_mutex_init(&store->head->lock))
        return FOUND_BAD_LINE;
    int got = pthread_mutex_lock(&store->head->lock);
    if (got != 0 && got != EOWNERDEAD)
        return FOUND_BAD_LINE;
    bool is_taken = fg_waiting_room_resume(&store->room, &store->head->line, store->head + 1,
                                           head.capacity, now_ns);
    if (got == EOWNERDEAD)
        pthread_mutex_consistent(&store->head->lock);
    pthread_mutex_unlock(&store->head->lock);
    return is_taken ? FOUND_LINE : FOUND_BAD_LINE;
}

static void let_go(struct fg_room_store *store)
{
    if (store->head != NULL)
        munmap(store->head, store->bytes);
    if (store->fd != -1)
        close(store->fd);
    store->head = NULL;
    store->fd = -1;
}

/* Make it as large as that capacity needs: with the line of `old`, or with a new one. */
static bool fill(struct fg_room_store *store, struct fg_room_store *old, uint64_t capacity,
                 const struct fg_waiting_room_config *config, uint64_t now_ns)
{
    errno = posix_fallocate(store->fd, 0, (off_t)bytes_for(capacity));
    if (errno != 0 || !map_memory(store, capacity) || !begin_line(store, capacity, config, now_ns))
        return false;
    if (old->head == NULL)
        return true;
    struct fg_waiting_room *room = fg_room_store_lock(old);
    store->room = *room;
    fg_waiting_room_grow(&store->room, &store->head->line, store->head + 1, capacity);
    if (old->has_pace)
        *fg_room_store_pace(store) = *fg_room_store_pace(old);
    fg_room_store_unlock(old);
    return true;
}

/* Write a file beside `file`. */
static bool write_new(struct fg_room_store *store, struct fg_room_store *old, const char *path,
                      uint64_t capacity, const struct fg_waiting_room_config *config,
                      uint64_t now_ns)
{
    store->fd = open_locked(path, O_TRUNC);
    return store->fd != -1 && fill(store, old, capacity, config, now_ns);
}

/* In place of the file, so that who still has it open goes on with what it has. */
static bool replace_file(struct fg_room_store *store, struct fg_room_store *old, const char *file,
                         uint64_t capacity, const struct fg_waiting_room_config *config,
                         uint64_t now_ns)
{
    char path[4096];
    int len = snprintf(path, sizeof(path), "%s.new", file);
    if (len < 0 || (size_t)len >= sizeof(path))
        return false;
    if (write_new(store, old, path, capacity, config, now_ns) && rename(path, file) == 0)
        return true;
    unlink(path);
    return false;
}

/* A new file instead of `old`, which is let go. False with errno. */
static bool put_in_place(struct fg_room_store *store, struct fg_room_store *old, enum found found,
                         const char *file, const struct fg_waiting_room_config *config,
                         uint64_t now_ns)
{
    if (found == FOUND_BAD_LINE) {
        fg_log(FG_LOG_WARN, "waiting_room_anew", "file=%s", file);
        if (old->head != NULL)
            munmap(old->head, old->bytes);
        old->head = NULL;
    }
    uint64_t capacity = fg_waiting_room_capacity(config);
    if (old->head != NULL && old->head->capacity > capacity)
        capacity = old->head->capacity;
    bool is_made = replace_file(store, old, file, capacity, config, now_ns);
    int failure = errno;
    let_go(old);
    errno = failure;
    return is_made;
}

static enum fg_status open_file(struct fg_room_store *store, const char *file,
                                const struct fg_waiting_room_config *config, uint64_t now_ns,
                                struct fg_error *error)
{
    struct fg_room_store old = {.fd = open_locked(file, 0)};
    uint64_t capacity = fg_waiting_room_capacity(config);
    if (old.fd == -1)
        return fg_error_set(error, "waiting_room.state_file: cannot open %s: %s", file,
                            strerror(errno));
    enum found found = take_over(&old, true, now_ns);
    if (found == FOUND_STRANGER) {
        let_go(&old);
        return fg_error_set(error,
                            "waiting_room.state_file: %s is no waiting room's; expected one of "
                            "its own, or none",
                            file);
    }
    if (found == FOUND_LINE && old.has_pace && old.head->capacity >= capacity)
        *store = old;
    else if (!put_in_place(store, &old, found, file, config, now_ns))
        return fg_error_set(error, "waiting_room.state_file: cannot write %s: %s", file,
                            strerror(errno));
    (void)lock_byte(store->fd, F_RDLCK, OPEN, false);
    (void)lock_byte(store->fd, F_UNLCK, OPENING, false);
    return FG_OK;
}

/* ---- memory that outlives this process ---- */

static bool open_memory(struct fg_room_store *store, const struct fg_room_memory *memory,
                        const struct fg_waiting_room_config *config, uint64_t now_ns)
{
    struct fg_room_store old = {.fd = -1};
    uint64_t capacity = fg_waiting_room_capacity(config);
    store->fd = fcntl(memory->fd, F_DUPFD_CLOEXEC, 0);
    if (store->fd == -1)
        return false;
    if (take_over(store, false, now_ns) == FOUND_LINE)
        return true;
    if (store->head != NULL)
        munmap(store->head, store->bytes);
    store->head = NULL;
    if (memory->before_fd != -1)
        old.fd = fcntl(memory->before_fd, F_DUPFD_CLOEXEC, 0);
    if (old.fd != -1 && take_over(&old, false, now_ns) != FOUND_LINE && old.head != NULL) {
        munmap(old.head, old.bytes);
        old.head = NULL;
    }
    if (old.head != NULL && old.head->capacity > capacity)
        capacity = old.head->capacity;
    bool is_made = fill(store, &old, capacity, config, now_ns);
    let_go(&old);
    return is_made;
}

/* ---- open and close ---- */

struct fg_room_store *fg_room_store_open(const char *file, const struct fg_room_memory *memory,
                                         const struct fg_waiting_room_config *config,
                                         uint64_t now_ns, struct fg_error *error)
{
    struct fg_room_store *store = calloc(1, sizeof(*store));
    fg_error_set(error, "not enough memory for a waiting room of %llu places",
                 (unsigned long long)config->waiting_max);
    if (store == NULL)
        return NULL;
    store->fd = -1;
    uint64_t capacity = fg_waiting_room_capacity(config);
    bool is_open;
    if (file != NULL)
        is_open = open_file(store, file, config, now_ns, error) == FG_OK;
    else if (memory != NULL && memory->fd != -1)
        is_open = open_memory(store, memory, config, now_ns);
    else
        is_open = map_memory(store, capacity) && begin_line(store, capacity, config, now_ns);
    if (!is_open) {
        fg_room_store_close(store);
        return NULL;
    }
    struct fg_waiting_room *room = fg_room_store_lock(store);
    fg_waiting_room_configure(room, config, now_ns);
    fg_room_store_unlock(store);
    return store;
}

void fg_room_store_close(struct fg_room_store *store)
{
    if (store == NULL)
        return;
    let_go(store);
    free(store);
}
