/*
 * file_reader.c: what a helper does for a file request, and the readers of one loop.
 * Thread   fg_file_read_in_helper: a helper, which sees nothing but the reader's in and out fields.
 *          The rest: the event loop.
 * Memory   at most FG_FILE_READERS_MAX a loop, made on demand and kept.
 */
#include "static_internal.h"

#include "static/file_open.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static enum fg_file_outcome outcome_of(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return FG_FILE_FORBIDDEN;
    case EMFILE:
    case ENFILE:
        return FG_FILE_NO_DESCRIPTORS;
    case ENOMEM:
        return FG_FILE_NO_MEMORY;
    case EIO:
        return FG_FILE_BROKEN;
    default: /* ENOENT, ENOTDIR, ELOOP, EXDEV, ENAMETOOLONG, ENXIO: no such file for anyone */
        return FG_FILE_MISSING;
    }
}

/* The file of that name; -1: there is none. */
static int open_regular(const struct fg_file_reader *reader, const char *path, struct stat *status)
{
    int fd = fg_file_open_beneath(reader->root_fd, path, reader->symlinks);
    if (fd != -1 && (fstat(fd, status) == -1 || !S_ISREG(status->st_mode))) {
        close(fd);
        return -1;
    }
    return fd;
}

static void note_facts(struct fg_file_reader *reader, const struct stat *status,
                       enum fg_coding coding)
{
    reader->facts = (struct fg_file_facts){
        .size_bytes = (uint64_t)status->st_size,
        .modified_s = status->st_mtim.tv_sec,
        .modified_ns = (uint32_t)status->st_mtim.tv_nsec,
        .coding = coding,
    };
}

/*
 * In place of the file that is open: the one beside it that its client likes best. One that is
 * older was made of what the file was before; by the second, for not every tool that takes a file's
 * time over takes its fraction along.
 */
static void prefer_coded(struct fg_file_reader *reader, const struct stat *plain)
{
    char path[PATH_MAX];
    unsigned left = reader->codings;
    enum fg_coding coding;
    while ((coding = fg_accept_encoding_choose(&reader->accept, left)) != FG_CODING_IDENTITY) {
        struct stat status;
        struct fg_span suffix = fg_file_coding_suffix(coding);
        size_t len = strlen(reader->path);
        left &= ~(1u << coding);
        if (len + suffix.len >= sizeof(path))
            return;
        memcpy(path, reader->path, len);
        memcpy(path + len, suffix.data, suffix.len + 1);
        int fd = open_regular(reader, path, &status);
        if (fd == -1)
            continue;
        if (status.st_mtim.tv_sec >= plain->st_mtim.tv_sec &&
            (uint64_t)status.st_size <= reader->file_bytes_max) {
            close(reader->fd);
            reader->fd = fd;
            note_facts(reader, &status, coding);
            return;
        }
        close(fd);
    }
}

static enum fg_file_outcome open_file(struct fg_file_reader *reader)
{
    struct stat status;
    reader->fd = fg_file_open_beneath(reader->root_fd, reader->path, reader->symlinks);
    if (reader->fd == -1)
        return outcome_of(errno);
    if (fstat(reader->fd, &status) == -1)
        return FG_FILE_BROKEN;
    if (S_ISDIR(status.st_mode))
        return FG_FILE_DIRECTORY;
    if (!S_ISREG(status.st_mode))
        return FG_FILE_MISSING;
    note_facts(reader, &status, FG_CODING_IDENTITY);
    if (reader->codings != 0)
        prefer_coded(reader, &status);
    return FG_FILE_FOUND;
}

static enum fg_file_outcome read_bytes(struct fg_file_reader *reader)
{
    while (reader->bytes_read < reader->bytes_wanted) {
        ssize_t got = pread(reader->fd, reader->buffer + reader->bytes_read,
                            reader->bytes_wanted - reader->bytes_read,
                            (off_t)(reader->offset + reader->bytes_read));
        if (got == 0)
            break;
        if (got == -1 && errno != EINTR)
            return FG_FILE_BROKEN;
        if (got > 0)
            reader->bytes_read += (size_t)got;
    }
    return FG_FILE_FOUND;
}

void fg_file_read_in_helper(struct fg_helper_job *job)
{
    struct fg_file_reader *reader = (struct fg_file_reader *)job;
    bool is_first = reader->fd == -1;
    reader->bytes_read = 0;
    reader->outcome = is_first ? open_file(reader) : FG_FILE_FOUND;
    bool is_too_large = is_first && reader->facts.size_bytes > reader->file_bytes_max;
    if (reader->outcome == FG_FILE_FOUND && !is_too_large)
        reader->outcome = read_bytes(reader);
    if (reader->outcome != FG_FILE_FOUND && reader->fd != -1) {
        close(reader->fd);
        reader->fd = -1;
    }
}

struct fg_file_reader *fg_file_reader_try_acquire(struct fg_static_thread *thread)
{
    struct fg_list *link = fg_list_pop_front(&thread->free);
    if (link != NULL)
        return FG_CONTAINER_OF(link, struct fg_file_reader, link);
    if (thread->readers_made == FG_FILE_READERS_MAX)
        return NULL;
    struct fg_file_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL)
        return NULL;
    reader->buffer = malloc(FG_FILE_READ_BYTES);
    if (reader->buffer == NULL) {
        free(reader);
        return NULL;
    }
    reader->thread = thread;
    reader->root_fd = thread->files->root_fd;
    reader->symlinks = thread->files->conf.symlinks;
    reader->file_bytes_max = thread->files->conf.file_bytes_max;
    reader->fd = -1;
    fg_list_init(&reader->link);
    thread->readers_made++;
    return reader;
}

void fg_file_reader_release(struct fg_file_reader *reader)
{
    assert(reader->fd == -1);
    reader->request = NULL;
    fg_list_push_front(&reader->thread->free, &reader->link);
}

void fg_file_reader_destroy(struct fg_file_reader *reader)
{
    if (reader->fd != -1)
        close(reader->fd);
    free(reader->buffer);
    free(reader);
}
