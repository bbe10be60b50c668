/*
 * check_machine.c: that the files which the configuration names are there and can be read, by the
 * process that will use them. Nothing is created and no port is opened.
 */
#include "config/checks.h"
#include "config/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define JWT_KEY_BYTES_MIN 32

enum wanted { WANTED_FILE, WANTED_DIRECTORY };

/* Reported and false unless `path` is there, of that sort and readable; *bytes is its size. */
static bool check_readable(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                           const char *key, const char *path, enum wanted wanted,
                           const char *expected, off_t *bytes)
{
    if (path == NULL)
        return false; /* missing or refused: reported already where it is needed */
    /* Non-blocking, so that a FIFO cannot hold the start up. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (fd == -1 || fstat(fd, &info) == -1) {
        fg_config_error_at(snapshot, node, key, "%s: cannot read %s: %s; expected %s", key, path,
                           strerror(errno), expected);
        if (fd != -1)
            close(fd);
        return false;
    }
    close(fd);
    bool is_right = wanted == WANTED_DIRECTORY ? S_ISDIR(info.st_mode) : S_ISREG(info.st_mode);
    if (!is_right) {
        fg_config_error_at(snapshot, node, key, "%s: %s is not a %s; expected %s", key, path,
                           wanted == WANTED_DIRECTORY ? "directory" : "file", expected);
        return false;
    }
    *bytes = info.st_size;
    return true;
}

static void check_listener_files(struct fg_snapshot *snapshot)
{
    off_t bytes = 0;
    for (size_t i = 0; i < snapshot->raw.listener_count; i++) {
        const struct fg_raw_listener *listener = &snapshot->raw.listeners[i];
        if (listener->conf.kind != FG_LISTENER_TLS)
            continue;
        (void)check_readable(snapshot, listener->node, "certificate", listener->conf.certificate,
                             WANTED_FILE, "a PEM file with the certificate chain", &bytes);
        (void)check_readable(snapshot, listener->node, "private_key", listener->conf.private_key,
                             WANTED_FILE, "a PEM file with the key", &bytes);
    }
}

/* Needed where a route gives out or reads tokens; a missing one is made at the start. */
static void check_jwt_key(struct fg_snapshot *snapshot)
{
    const char *path = snapshot->raw.identity.jwt.secret_file;
    const struct fg_yaml_node *node = fg_yaml_find(fg_yaml_find(snapshot->root, "identity"), "jwt");
    bool is_needed = false;
    for (size_t i = 0; i < snapshot->raw.route_count; i++)
        is_needed = is_needed || snapshot->raw.routes[i].is_session ||
                    snapshot->raw.routes[i].conf.identity != FG_IDENTITY_NONE;
    if (!is_needed || path == NULL || (access(path, F_OK) == -1 && errno == ENOENT))
        return;
    off_t bytes = 0;
    if (check_readable(snapshot, node, "secret_file", path, WANTED_FILE,
                       "a key of at least 32 random bytes", &bytes) &&
        bytes < JWT_KEY_BYTES_MIN)
        fg_config_error_at(snapshot, node, "secret_file",
                           "secret_file: %s has %lld bytes; expected a key of at least 32 random "
                           "bytes",
                           path, (long long)bytes);
}

void fg_config_check_machine(struct fg_snapshot *snapshot)
{
    off_t bytes = 0;
    check_listener_files(snapshot);
    check_jwt_key(snapshot);
    for (size_t i = 0; i < snapshot->raw.static_count; i++) {
        const struct fg_raw_backend *backend = &snapshot->raw.statics[i];
        (void)check_readable(snapshot, backend->node, "root", backend->conf.files.root,
                             WANTED_DIRECTORY, "a directory of files", &bytes);
    }
    if (snapshot->raw.inference.conf.enabled)
        (void)check_readable(snapshot, fg_yaml_find(snapshot->root, "inference"), "model",
                             snapshot->raw.inference.conf.model, WANTED_FILE, "a GGUF model",
                             &bytes);
}
