/*
 * endpoint_file.c: reads the file when it is another one than before, or its names are due.
 * Job      stat, read, parse and look names up in a helper thread; take the result over on the
 *          loop. A file that cannot be read or understood changes nothing; the log says why, once.
 *          Nor does one with a name that is not found, or one without endpoints, unless the
 *          configuration has some: a file that is being written anew is empty for a moment. One
 *          that was changed just now may be half there, and is left alone until it is still.
 * Thread   start-up; the first event loop, and one helper job at a time.
 * Never    reads or looks up on an event loop.
 * Memory   the text (FILE_BYTES_MAX at most) and the hosts while they are taken over.
 */
#include "proxy/endpoint_file.h"

#include "proxy_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((off_t)4 << 20)
#define LOOK_S 1
#define SETTLE_NS (FG_S / 2)
#define NAMES_PAUSE_NS (5 * FG_S) /* until names are looked up again of which one was not found */

/* Which version of the file was read. */
struct version {
    struct timespec changed;
    off_t bytes;
    ino_t inode;
};

struct reading {
    struct fg_helper_job job;      /* first */
    struct fg_endpoint_file *file; /* NULL: nobody waits any more */
    const char *path;
    size_t most;
    struct version version; /* in: the last one; out: the one that was read */
    bool is_forced;         /* read it though it is the same */
    bool is_first;          /* at the start: as it is, since nothing is known yet */
    bool may_be_empty;      /* there are endpoints besides */
    bool is_new;            /* out: content or error is set */
    bool is_read;           /* out: content is set */
    struct fg_endpoint_file_content content;
    struct fg_error error;
};

struct fg_endpoint_file {
    struct fg_proxy_thread *thread;
    struct event *timer;
    struct reading *reading; /* under way */
    struct version version;
    bool has_names;
    uint64_t names_due_ns;
};

/* ---- the text ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct fg_span next_word(struct fg_span *line)
{
    size_t at = 0;
    while (at < line->len && is_blank(line->data[at]))
        at++;
    size_t end = at;
    while (end < line->len && !is_blank(line->data[end]))
        end++;
    struct fg_span word = fg_span_make(line->data + at, end - at);
    *line = fg_span_make(line->data + end, line->len - end);
    return word;
}

static bool take_setting(struct fg_endpoint_conf *conf, struct fg_span word)
{
    struct fg_span value = word;
    struct fg_span name = fg_span_split(&value, '=');
    uint64_t number = 0;
    if (value.data == NULL || !fg_span_parse_u64(value, &number))
        return false;
    if (fg_span_equal(name, FG_SPAN("weight")) && number >= 1 && number <= 1000)
        conf->weight = (uint32_t)number;
    else if (fg_span_equal(name, FG_SPAN("priority")) && number < FG_BALANCE_LEVELS)
        conf->priority = (uint32_t)number;
    else
        return false;
    return true;
}

/* Addresses of one endpoint behind what is there. */
static bool add_target(struct fg_endpoint_file_content *content,
                       const struct fg_endpoint_target *target, size_t most, struct fg_error *error)
{
    struct fg_address addresses[FG_ADDRESSES_MAX];
    size_t count = 1;
    if (target->is_name) {
        count = fg_endpoint_lookup(target, addresses);
        content->has_names = true;
        if (count == 0)
            (void)snprintf(content->unknown, sizeof(content->unknown), "%s", target->text);
    } else {
        addresses[0] = target->address;
    }
    if (count > most - content->count) {
        (void)fg_error_set(error,
                           "more than %zu addresses; expected fewer, or a larger "
                           "endpoints_max",
                           most);
        return false;
    }
    size_t bytes = (content->count + count + 1) * sizeof(*content->specs);
    struct fg_host_spec *grown = realloc(content->specs, bytes);
    if (grown == NULL) {
        (void)fg_error_set(error, "no memory for the endpoints");
        return false;
    }
    content->specs = grown;
    for (size_t i = 0; i < count; i++)
        fg_endpoint_spec(target, &addresses[i], &content->specs[content->count++]);
    return true;
}

static bool take_line(struct fg_endpoint_file_content *content, struct fg_span line, size_t most,
                      struct fg_error *error)
{
    char address[FG_HOST_NAME_BYTES];
    struct fg_endpoint_conf conf = {.address = address, .weight = 1};
    struct fg_endpoint_target target;
    struct fg_span rest = line;
    struct fg_span word = next_word(&rest);
    if (word.len == 0)
        return true;
    if (word.len >= sizeof(address) || memchr(word.data, '\0', word.len) != NULL) {
        (void)fg_error_set(error, "no address; expected host:port, [IPv6]:port or unix:/path");
        return false;
    }
    memcpy(address, word.data, word.len);
    address[word.len] = '\0';
    while ((word = next_word(&rest)).len > 0) {
        if (!take_setting(&conf, word)) {
            (void)fg_error_set(error,
                               "\"%.*s\" is no setting; expected weight=1 to 1000 or "
                               "priority=0 to 7",
                               FG_SPAN_ARGS(word));
            return false;
        }
    }
    return fg_endpoint_target_init(&target, &conf, error) &&
           add_target(content, &target, most, error);
}

bool fg_endpoint_file_parse(struct fg_endpoint_file_content *content, struct fg_span text,
                            size_t most, struct fg_error *error)
{
    *content = (struct fg_endpoint_file_content){.specs = NULL};
    error->line = 0;
    while (text.data != NULL) {
        struct fg_span line = fg_span_split(&text, '\n');
        error->line++;
        if (line.len > 0 && line.data[line.len - 1] == '\r')
            line.len--;
        struct fg_span comment = line;
        line = fg_span_split(&comment, '#');
        if (!take_line(content, line, most, error)) {
            free(content->specs);
            content->specs = NULL;
            return false;
        }
    }
    return true;
}

/* ---- the file ---- */

static bool is_same(const struct version *a, const struct version *b)
{
    return a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec &&
           a->bytes == b->bytes && a->inode == b->inode;
}

static char *read_text(int fd, size_t bytes, size_t *len)
{
    char *text = malloc(bytes + 1);
    if (text == NULL)
        return NULL;
    for (*len = 0; *len < bytes;) {
        ssize_t got = read(fd, text + *len, bytes - *len);
        if (got <= 0)
            break;
        *len += (size_t)got;
    }
    return text;
}

/* Changed a moment ago, so that whoever writes it may not be done. A time to come says nothing. */
static bool is_being_written(const struct version *version)
{
    uint64_t now_ns = fg_clock_wall_ns();
    uint64_t changed_ns =
        (uint64_t)version->changed.tv_sec * FG_S + (uint64_t)version->changed.tv_nsec;
    return changed_ns <= now_ns && now_ns - changed_ns < SETTLE_NS;
}

static void parse(struct reading *reading, struct fg_span text)
{
    reading->is_read =
        fg_endpoint_file_parse(&reading->content, text, reading->most, &reading->error);
    if (!reading->is_read || reading->is_first)
        return;
    const struct fg_endpoint_file_content *content = &reading->content;
    if (content->unknown[0] != '\0')
        (void)fg_error_set(&reading->error, "%s is not found; expected a name that is",
                           content->unknown);
    else if (content->count == 0 && (text.len == 0 || !reading->may_be_empty))
        (void)fg_error_set(&reading->error, "no endpoint in it; expected one at least");
    else
        return;
    reading->is_read = false;
    reading->error.line = 0;
    free(content->specs);
}

/* There is nothing to read, which is told once. */
static void give_up(struct reading *reading, const char *why)
{
    const struct version none = {.bytes = -1};
    reading->is_new = !is_same(&reading->version, &none);
    reading->version = none;
    (void)fg_error_set(&reading->error, "%s", why);
}

static void read_open(struct reading *reading, int fd)
{
    struct stat info;
    if (fstat(fd, &info) == -1 || !S_ISREG(info.st_mode)) {
        give_up(reading, "it is no regular file; expected one");
        return;
    }
    if (info.st_size > FILE_BYTES_MAX) {
        give_up(reading, "it has more than 4MiB; expected less");
        return;
    }
    const struct version version = {info.st_mtim, info.st_size, info.st_ino};
    if (is_same(&version, &reading->version) && !reading->is_forced)
        return;
    if (!reading->is_first && is_being_written(&version))
        return; /* the next look */
    size_t len = 0;
    char *text = read_text(fd, (size_t)info.st_size, &len);
    reading->is_new = true;
    reading->version = version;
    if (text == NULL)
        (void)fg_error_set(&reading->error, "no memory");
    else
        parse(reading, fg_span_make(text, len));
    free(text);
}

static void read_file(struct reading *reading)
{
    int fd = open(reading->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd == -1) {
        give_up(reading, strerror(errno));
        return;
    }
    read_open(reading, fd);
    close(fd);
}

/* False: nothing has changed. */
static bool take_over(struct fg_proxy *proxy, struct reading *reading, uint64_t now_ns)
{
    unsigned source = (unsigned)proxy->conf.endpoint_count; /* behind the configured ones */
    if (!reading->is_new)
        return false;
    if (!reading->is_read) {
        char reason[2 * sizeof(reading->error.message)];
        fg_log_quote(reason, sizeof(reason), reading->error.message,
                     strlen(reading->error.message));
        fg_log(FG_LOG_WARN, "endpoints_file_refused", "cluster=%s file=%s line=%u reason=%s",
               proxy->base.name, reading->path, reading->error.line, reason);
        return false;
    }
    enum fg_status status = fg_hosts_replace(&proxy->hosts, source, reading->content.specs,
                                             reading->content.count, now_ns);
    free(reading->content.specs);
    if (status == FG_OK)
        fg_log(FG_LOG_INFO, "endpoints_file_read", "cluster=%s file=%s endpoints=%zu",
               proxy->base.name, reading->path, reading->content.count);
    else
        fg_log(FG_LOG_WARN, "endpoints_file_refused", "cluster=%s file=%s reason=%s",
               proxy->base.name, reading->path, fg_status_name(status));
    return status == FG_OK;
}

static struct reading first_reading(const struct fg_proxy *proxy)
{
    return (struct reading){.path = proxy->conf.endpoints_file,
                            .most = proxy->conf.hosts_max,
                            .is_forced = true,
                            .is_first = true,
                            .may_be_empty = proxy->conf.endpoint_count > 0};
}

void fg_endpoint_file_load(struct fg_proxy *proxy)
{
    struct reading reading = first_reading(proxy);
    read_file(&reading);
    (void)take_over(proxy, &reading, 0);
}

/* ---- following it ---- */

static void read_in_helper(struct fg_helper_job *job)
{
    read_file((struct reading *)job);
}

static void on_read(struct fg_message *message)
{
    struct reading *reading = (struct reading *)message;
    struct fg_endpoint_file *file = reading->file;
    if (file == NULL) {
        if (reading->is_read)
            free(reading->content.specs);
        free(reading);
        return;
    }
    struct fg_proxy *proxy = file->thread->proxy;
    uint64_t now_ns = fg_clock_monotonic_ns();
    bool is_unknown = reading->content.unknown[0] != '\0';
    if (take_over(proxy, reading, now_ns) || is_unknown)
        file->has_names = reading->content.has_names;
    if (reading->is_new)
        file->names_due_ns = now_ns + (is_unknown ? NAMES_PAUSE_NS : proxy->conf.dns_ttl_max_ns);
    file->version = reading->version;
    file->reading = NULL;
    free(reading);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    struct fg_endpoint_file *file = arg;
    const struct fg_backend_env *env = &file->thread->env;
    (void)fd;
    (void)what;
    if (file->reading != NULL || env->helper == NULL)
        return;
    struct reading *reading = malloc(sizeof(*reading));
    if (reading == NULL)
        return;
    *reading = first_reading(file->thread->proxy);
    reading->is_forced = file->has_names && file->names_due_ns <= fg_clock_monotonic_ns();
    reading->is_first = false;
    reading->version = file->version;
    reading->file = file;
    reading->job.message.run = on_read;
    reading->job.work = read_in_helper;
    reading->job.reply_to = env->mailbox;
    if (fg_helper_pool_try_look_up(env->helper, &reading->job) == FG_OK)
        file->reading = reading;
    else
        free(reading); /* the next look */
}

enum fg_status fg_endpoint_file_open(struct fg_endpoint_file **out, struct fg_proxy_thread *thread)
{
    *out = NULL;
    if (thread->proxy->conf.endpoints_file == NULL)
        return FG_OK;
    struct fg_endpoint_file *file = calloc(1, sizeof(*file));
    if (file == NULL)
        return FG_ERR_NO_MEMORY;
    file->thread = thread;
    file->timer = event_new(thread->env.base, -1, EV_PERSIST, on_look, file);
    if (file->timer == NULL) {
        free(file);
        return FG_ERR_NO_MEMORY;
    }
    const struct timeval look = {.tv_sec = LOOK_S};
    event_add(file->timer, &look);
    *out = file;
    return FG_OK;
}

void fg_endpoint_file_close(struct fg_endpoint_file *file)
{
    if (file == NULL)
        return;
    if (file->reading != NULL)
        file->reading->file = NULL; /* freed when it is done */
    event_free(file->timer);
    free(file);
}
