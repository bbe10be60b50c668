/*
 * test_static_files.c: whole exchanges over a directory that the test fills. Every wait is for a
 * condition; a guard ends a test that waits in vain.
 */
#include "static/static_files.h"

#include "base/clock.h"
#include "static/static_internal.h"
#include "static/file_open.h"
#include "unit/backends/fake_exchange.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define GUARD_MS 60000
#define LARGE_BYTES ((size_t)3 << 20)

struct fixture {
    struct event_base *base;
    struct fg_mailbox mailbox;
    struct fg_helper_pool *helper;
    struct fg_static_conf conf;
    char outside[64]; /* holds root and a secret */
    char root[80];
    struct fg_backend *backend;
    struct fg_backend_thread *thread;
    struct fake_exchange exchanges[40];
};

static void make_file(const struct fixture *f, const char *name, const char *data, size_t len)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", f->root, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_int_not_equal(fd, -1);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

static void make_directory(const struct fixture *f, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", f->root, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void make_link(const struct fixture *f, const char *target, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", f->root, name);
    assert_int_equal(symlink(target, path), 0);
}

static void fill(struct fixture *f)
{
    make_file(f, "a.txt", "0123456789", 10);
    make_file(f, "empty.css", "", 0);
    make_file(f, ".env", "secret", 6);
    make_directory(f, "docs");
    make_file(f, "docs/index.html", "<p>docs", 7);
    make_directory(f, "bare");
    make_link(f, "../secret", "out");
    make_link(f, "..", "up");
    make_link(f, "/etc", "etc");
    make_link(f, "a.txt", "in");
    make_directory(f, "..2026");
    make_file(f, "..2026/page.txt", "mounted", 7);
    make_link(f, "..2026", "..data");
    make_link(f, "..data/page.txt", "page.txt");
    make_link(f, "./../docs/.././in", "docs/far");
    make_link(f, "docs/..", "self");
    make_link(f, "b", "a");
    make_link(f, "a", "b");
    make_link(f, "../root/a.txt", "back");
    make_file(f, "../secret", "secret", 6);
    char *large = malloc(LARGE_BYTES);
    assert_non_null(large);
    for (size_t i = 0; i < LARGE_BYTES; i++)
        large[i] = (char)(i * 7 + i / 65536);
    make_file(f, "large.bin", large, LARGE_BYTES);
    free(large);
    char fifo[256];
    snprintf(fifo, sizeof(fifo), "%s/fifo", f->root);
    assert_int_equal(mkfifo(fifo, 0644), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    *state = f;
    if (f == NULL || fg_mailbox_init(&f->mailbox) != FG_OK)
        return -1;
    f->base = event_base_new();
    f->helper = fg_helper_pool_create(2, 8);
    snprintf(f->outside, sizeof(f->outside), "/tmp/fg-static-XXXXXX");
    assert_non_null(mkdtemp(f->outside));
    snprintf(f->root, sizeof(f->root), "%s/root", f->outside);
    assert_int_equal(mkdir(f->root, 0755), 0);
    fill(f);
    f->conf = (struct fg_static_conf){.root = f->root,
                                      .index = "index.html",
                                      .symlinks = FG_FILE_SYMLINKS_INSIDE,
                                      .file_bytes_max = 8 << 20,
                                      .cache_control = "public, max-age=60",
                                      .ranges_max = 16};
    struct fg_error error;
    const struct fg_backend_env env = {
        .base = f->base, .mailbox = &f->mailbox, .helper = f->helper, .thread_count = 1};
    f->backend = fg_static_create("site", &f->conf, &error);
    assert_non_null(f->backend);
    f->thread = f->backend->ops->thread_open(f->backend, &env, &error);
    return f->thread == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    for (size_t i = 0; i < sizeof(f->exchanges) / sizeof(f->exchanges[0]); i++)
        fake_exchange_fini(&f->exchanges[i]);
    f->backend->ops->thread_close(f->thread);
    fg_helper_pool_destroy(f->helper);
    fg_mailbox_drain(&f->mailbox);
    fg_mailbox_fini(&f->mailbox);
    f->backend->ops->destroy(f->backend);
    event_base_free(f->base);
    snprintf(command, sizeof(command), "rm -r '%s'", f->outside);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* Until a helper has posted something, or a timer of the loop is due. */
static void turn(struct fixture *f)
{
    struct pollfd mail = {.fd = f->mailbox.event_fd, .events = POLLIN};
    assert_true(poll(&mail, 1, 5) >= 0);
    fg_mailbox_drain(&f->mailbox);
    event_base_loop(f->base, EVLOOP_NONBLOCK);
}

#define RUN_UNTIL(f, condition)                                                                    \
    do {                                                                                           \
        uint64_t end_ns = fg_clock_monotonic_ns() + GUARD_MS * FG_MS;                              \
        while (!(condition)) {                                                                     \
            if (fg_clock_monotonic_ns() > end_ns)                                                  \
                fail_msg("waited in vain for: %s", #condition);                                    \
            turn(f);                                                                               \
        }                                                                                          \
    } while (0)

static struct fake_exchange *begin(struct fixture *f, size_t index, const char *method,
                                   const char *path)
{
    struct fake_exchange *fake = &f->exchanges[index];
    fake_exchange_fini(fake);
    fake_exchange_init(fake, method, path, NULL);
    return fake;
}

static void run(struct fixture *f, struct fake_exchange *fake)
{
    f->backend->ops->start(f->thread, &fake->ex);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
}

static json_int_t number(struct fixture *f, const char *name)
{
    json_t *stats = json_object();
    f->backend->ops->stats(f->backend, stats);
    json_int_t value = json_integer_value(json_object_get(stats, name));
    json_decref(stats);
    return value;
}

static void serves_a_file(void **state)
{
    struct fixture *f = *state;
    struct fake_exchange *fake = begin(f, 0, "GET", "/a.txt");
    run(f, fake);
    assert_int_equal(fake->end, FAKE_ENDED);
    assert_int_equal(fake->status, 200);
    assert_string_equal(fake->body, "0123456789");
    assert_string_equal(fake_exchange_answer(fake, "content-type"), "text/plain; charset=utf-8");
    assert_string_equal(fake_exchange_answer(fake, "content-length"), "10");
    assert_string_equal(fake_exchange_answer(fake, "cache-control"), "public, max-age=60");
    assert_non_null(fake_exchange_answer(fake, "last-modified"));
    assert_int_equal(number(f, "open_files"), 0);
    assert_int_equal(number(f, "reads"), 1);
}

static void serves_head_empty_files_and_indexes(void **state)
{
    struct fixture *f = *state;
    struct fake_exchange *fake = begin(f, 0, "HEAD", "/a.txt");
    run(f, fake);
    assert_string_equal(fake_exchange_answer(fake, "content-length"), "10");
    assert_int_equal(fake->body_len, 0);
    fake = begin(f, 0, "GET", "/empty.css");
    run(f, fake);
    assert_int_equal(fake->end, FAKE_ENDED);
    assert_string_equal(fake_exchange_answer(fake, "content-length"), "0");
    fake = begin(f, 0, "GET", "/docs/");
    run(f, fake);
    assert_string_equal(fake->body, "<p>docs");
}

static void validators_make_304_and_ranges_206(void **state)
{
    struct fixture *f = *state;
    struct fake_exchange *fake = begin(f, 0, "GET", "/a.txt");
    run(f, fake);
    char etag[64];
    snprintf(etag, sizeof(etag), "%s", fake_exchange_answer(fake, "etag"));
    fake = begin(f, 0, "GET", "/a.txt");
    fake_exchange_add_field(fake, "if-none-match", etag);
    run(f, fake);
    assert_int_equal(fake->status, 304);
    assert_int_equal(fake->body_len, 0);
    fake = begin(f, 0, "GET", "/a.txt");
    fake_exchange_add_field(fake, "range", "bytes=3-5");
    run(f, fake);
    assert_int_equal(fake->status, 206);
    assert_string_equal(fake->body, "345");
    fake = begin(f, 0, "GET", "/a.txt");
    fake_exchange_add_field(fake, "range", "bytes=99-");
    run(f, fake);
    assert_int_equal(fake->status, 416);
    assert_int_equal(number(f, "open_files"), 0);
}

static void nothing_outside_is_reached(void **state)
{
    static const char *const paths[] = {
        "/missing",     "/.env",  "/../secret", "/%2e%2e/secret", "/out",      "/up/secret",
        "/etc/passwd",  "/a",     "/a.txt/",    "/a.txt/x",       "/docs/../", "/fifo",
        "/docs/./../a", "/bare/", "/a.txt%00",  "/docs//",        "/back",     "/..data/page.txt",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct fake_exchange *fake = begin(f, 0, "GET", paths[i]);
        run(f, fake);
        if (fake->status != 404)
            fail_msg("%s: %u", paths[i], fake->status);
        assert_int_equal(fake->end, FAKE_REFUSED);
    }
}

static void links_are_followed_inside_or_not_at_all(void **state)
{
    static const struct {
        const char *path;
        const char *body;
    } cases[] = {
        {"/in", "0123456789"},      {"/page.txt", "mounted"},        {"/self/a.txt", "0123456789"},
        {"/self/docs/", "<p>docs"}, {"/self/self/in", "0123456789"},
    };
    struct fixture *f = *state;
    struct fg_static *files = (struct fg_static *)f->backend;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_exchange *fake = begin(f, i, "GET", cases[i].path);
        run(f, fake);
        assert_int_equal(fake->status, 200);
        assert_string_equal(fake->body, cases[i].body);
    }
    f->backend->ops->thread_close(f->thread);
    files->conf.symlinks = FG_FILE_SYMLINKS_NONE;
    struct fg_error error;
    const struct fg_backend_env env = {
        .base = f->base, .mailbox = &f->mailbox, .helper = f->helper, .thread_count = 1};
    f->thread = f->backend->ops->thread_open(f->backend, &env, &error);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_exchange *fake = begin(f, i, "GET", cases[i].path);
        run(f, fake);
        assert_int_equal(fake->status, 404);
    }
}

/* Either way of opening, with the kernel's answers. */
static void stepwise_opening_does_the_same(void **state)
{
    struct fixture *f = *state;
    int root_fd = open(f->root, O_PATH | O_DIRECTORY);
    static const struct {
        const char *path;
        int error;      /* with links */
        int bare_error; /* without */
    } cases[] = {
        {"a.txt", 0, 0},
        {"docs/index.html", 0, 0},
        {"docs", 0, 0},
        {"docs/../a.txt", 0, 0},
        {"docs/..", 0, 0},
        {"docs/./index.html", 0, 0},
        {"missing", ENOENT, ENOENT},
        {"../secret", EXDEV, EXDEV},
        {"docs/../../secret", EXDEV, EXDEV},
        {"a.txt/x", ENOTDIR, ENOTDIR},
        {"", ENOENT, ENOENT},
        {"in", 0, ELOOP},
        {"page.txt", 0, ELOOP},
        {"docs/far", 0, ELOOP},
        {"self/docs/far", 0, ELOOP},
        {"a", ELOOP, ELOOP},
        {"a/x", ELOOP, ELOOP},
        {"out", EXDEV, ELOOP},
        {"etc", EXDEV, ELOOP},
        {"etc/passwd", EXDEV, ELOOP},
        {"up/secret", EXDEV, ELOOP},
        {"back", EXDEV, ELOOP},
    };
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        const char *path = cases[i / 2].path;
        bool follows = i % 2 == 0;
        enum fg_file_symlinks symlinks = follows ? FG_FILE_SYMLINKS_INSIDE : FG_FILE_SYMLINKS_NONE;
        int expected = follows ? cases[i / 2].error : cases[i / 2].bare_error;
        int at_once = fg_file_open_beneath(root_fd, path, symlinks);
        if ((at_once == -1 ? errno : 0) != expected)
            fail_msg("%s at once: %s", path, strerror(errno));
        int stepwise = fg_file_open_stepwise(root_fd, path, symlinks);
        if ((stepwise == -1 ? errno : 0) != expected)
            fail_msg("%s: %s", path, strerror(errno));
        if (at_once == -1)
            continue;
        struct stat one, other;
        assert_int_equal(fstat(at_once, &one), 0);
        assert_int_equal(fstat(stepwise, &other), 0);
        assert_int_equal(one.st_ino, other.st_ino);
        close(at_once);
        close(stepwise);
    }
    close(root_fd);
}

static void a_directory_without_slash_is_redirected(void **state)
{
    struct fixture *f = *state;
    struct fake_exchange *fake = begin(f, 0, "GET", "/docs");
    fake->ex.query = FG_SPAN("a=1");
    run(f, fake);
    assert_int_equal(fake->status, 308);
    assert_string_equal(fake_exchange_answer(fake, "location"), "./docs/?a=1");
}

static void other_methods_are_told_what_is_allowed(void **state)
{
    struct fixture *f = *state;
    struct fake_exchange *fake = begin(f, 0, "POST", "/a.txt");
    run(f, fake);
    assert_int_equal(fake->status, 405);
    assert_string_equal(fake->allow, "GET, HEAD");
    assert_string_equal(fake->code, "method_not_allowed");
}

static void a_file_too_large_is_forbidden(void **state)
{
    struct fixture *f = *state;
    f->backend->ops->thread_close(f->thread);
    f->backend->ops->destroy(f->backend);
    f->conf.file_bytes_max = 9;
    struct fg_error error;
    const struct fg_backend_env env = {
        .base = f->base, .mailbox = &f->mailbox, .helper = f->helper, .thread_count = 1};
    f->backend = fg_static_create("site", &f->conf, &error);
    f->thread = f->backend->ops->thread_open(f->backend, &env, &error);
    struct fake_exchange *fake = begin(f, 0, "GET", "/a.txt");
    run(f, fake);
    assert_int_equal(fake->status, 403);
    assert_string_equal(fake->code, "file_too_large");
    fake = begin(f, 0, "GET", "/docs/");
    run(f, fake);
    assert_int_equal(fake->status, 200);
}

static void a_slow_client_stops_the_reading(void **state)
{
    struct fixture *f = *state;
    struct fake_exchange *fake = begin(f, 0, "GET", "/large.bin");
    fake->window = 100000;
    f->backend->ops->start(f->thread, &fake->ex);
    while (fake->end == FAKE_OPEN) {
        turn(f);
        assert_true(fake->unread < 100000 + 65536);
        if (fake->end == FAKE_OPEN && fake->unread >= fake->window) {
            fake->unread = 0;
            f->backend->ops->on_writable(&fake->ex);
        }
    }
    assert_int_equal(fake->end, FAKE_ENDED);
    assert_int_equal(fake->body_len, LARGE_BYTES);
    for (size_t i = 0; i < LARGE_BYTES; i++) {
        if (fake->body[i] != (char)(i * 7 + i / 65536))
            fail_msg("byte %zu differs", i);
    }
}

static void many_at_once_share_the_readers(void **state)
{
    struct fixture *f = *state;
    size_t ended = 0, busy = 0;
    for (size_t i = 0; i < 40; i++) {
        struct fake_exchange *fake = begin(f, i, "GET", "/large.bin");
        f->backend->ops->start(f->thread, &fake->ex);
    }
    for (size_t i = 0; i < 40; i++) {
        struct fake_exchange *fake = &f->exchanges[i];
        RUN_UNTIL(f, fake->end != FAKE_OPEN);
        ended += fake->end == FAKE_ENDED && fake->body_len == LARGE_BYTES;
        busy += fake->end == FAKE_FAILED && fake->failure == FG_FAILURE_BUSY;
    }
    assert_int_equal(ended + busy, 40);
    assert_true(ended > 0);
    assert_int_equal(number(f, "open_files"), 0);
}

static void a_cancelled_exchange_may_be_gone_when_its_read_ends(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 40; i++) {
        struct fake_exchange *fake = begin(f, 0, "GET", i % 2 == 0 ? "/large.bin" : "/a.txt");
        f->backend->ops->start(f->thread, &fake->ex);
        if (i % 4 == 2)
            RUN_UNTIL(f, fake->body_len > 0);
        if (fake->end != FAKE_OPEN)
            continue;
        f->backend->ops->cancel(&fake->ex);
        fake->end = FAKE_CANCELLED;
        fake_exchange_fini(fake); /* its arena is freed while the helper works */
    }
    /* The loop closes with reads under way: teardown drains them. */
    assert_int_equal(number(f, "open_files"), 0);
}

static void a_file_that_shrinks_is_never_ended_as_whole(void **state)
{
    struct fixture *f = *state;
    struct fake_exchange *fake = begin(f, 0, "GET", "/large.bin");
    fake->window = 1;
    f->backend->ops->start(f->thread, &fake->ex);
    RUN_UNTIL(f, fake->body_len > 0);
    char path[256];
    snprintf(path, sizeof(path), "%s/large.bin", f->root);
    assert_int_equal(truncate(path, 70000), 0);
    fake->window = SIZE_MAX;
    f->backend->ops->on_writable(&fake->ex);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->end, FAKE_FAILED);
    assert_int_equal(fake->failure, FG_FAILURE_RESET);
}

/* Which file is opened, by what its client says and what stands there. */
static void opens_what_stands_beside_it(void **state)
{
    static const struct {
        const char *path;
        const char *accepted; /* NULL: no field */
        const char *coding;   /* NULL: as it is */
        const char *body;
    } cases[] = {
        {"/b.js", NULL, NULL, "plain"},
        {"/b.js", "", NULL, "plain"},
        {"/b.js", "gzip", "gzip", "g-zip"},
        {"/b.js", "gzip, deflate, br, zstd", "br", "brotli!"},
        {"/b.js", "gzip;q=0.9, br;q=0.8", "gzip", "g-zip"},
        {"/b.js", "gzip;q=0.5, identity", NULL, "plain"},
        {"/b.js", "br;q=0, *", "gzip", "g-zip"}, /* the zstd one is older than the file */
        {"/b.js", "zstd", NULL, "plain"},
        {"/b.js", "compress", NULL, "plain"},
        {"/a.txt", "gzip, br, zstd", NULL, "0123456789"},
        {"/c.css", "br, zstd, gzip;q=0.1", "gzip",
         "c in g"}, /* a directory and a link to outside are none */
        {"/b.js.br", "br", NULL, "brotli!"},
    };
    struct fixture *f = *state;
    struct fg_static *files = (struct fg_static *)f->backend;
    const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    const unsigned all = 1u << FG_CODING_GZIP | 1u << FG_CODING_ZSTD | 1u << FG_CODING_BR;
    char path[128];
    make_file(f, "b.js", "plain", 5);
    make_file(f, "b.js.gz", "g-zip", 5);
    make_file(f, "b.js.br", "brotli!", 7);
    make_file(f, "b.js.zst", "old", 3);
    snprintf(path, sizeof(path), "%s/b.js.zst", f->root);
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    make_file(f, "c.css", "c", 1);
    make_directory(f, "c.css.br");
    make_link(f, "/a.txt", "c.css.zst");
    make_file(f, "c.css.gz", "c in g", 6);
    for (unsigned round = 0; round < 2; round++) {
        files->conf.precompressed = round == 0 ? 0 : all;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            struct fake_exchange *fake = begin(f, 0, "GET", cases[i].path);
            if (cases[i].accepted != NULL)
                fake_exchange_add_field(fake, "accept-encoding", cases[i].accepted);
            run(f, fake);
            const char *coding = fake_exchange_answer(fake, "content-encoding");
            const char *vary = fake_exchange_answer(fake, "vary");
            assert_int_equal(fake->status, 200);
            if (round == 0) {
                assert_null(coding);
                assert_null(vary);
                continue;
            }
            print_message("%s, %s\n", cases[i].path, cases[i].accepted);
            assert_string_equal(vary, "accept-encoding");
            assert_string_equal(coding == NULL ? "-" : coding,
                                cases[i].coding == NULL ? "-" : cases[i].coding);
            assert_string_equal(fake->body, cases[i].body);
        }
    }
    assert_int_equal(number(f, "precompressed"), 5);
    assert_int_equal(number(f, "open_files"), 0);
}

static void a_coded_file_has_validators_and_ranges_of_its_own(void **state)
{
    struct fixture *f = *state;
    struct fg_static *files = (struct fg_static *)f->backend;
    char tags[2][64];
    files->conf.precompressed = 1u << FG_CODING_BR;
    make_file(f, "b.js", "plain", 5);
    make_file(f, "b.js.br", "inbrs", 5);
    for (unsigned i = 0; i < 2; i++) {
        struct fake_exchange *fake = begin(f, 0, "GET", "/b.js");
        fake_exchange_add_field(fake, "accept-encoding", i == 0 ? "gzip" : "br");
        run(f, fake);
        snprintf(tags[i], sizeof(tags[i]), "%s", fake_exchange_answer(fake, "etag"));
        assert_string_equal(fake_exchange_answer(fake, "content-type"),
                            "text/javascript; charset=utf-8");
    }
    assert_string_not_equal(tags[0], tags[1]);
    for (unsigned i = 0; i < 4; i++) { /* each tag, from who takes br and from who does not */
        struct fake_exchange *fake = begin(f, 0, "GET", "/b.js");
        fake_exchange_add_field(fake, "accept-encoding", i % 2 == 0 ? "gzip" : "br");
        fake_exchange_add_field(fake, "if-none-match", tags[i / 2]);
        run(f, fake);
        assert_int_equal(fake->status, i % 2 == i / 2 ? 304 : 200);
        assert_string_equal(fake_exchange_answer(fake, "vary"), "accept-encoding");
    }
    struct fake_exchange *fake = begin(f, 0, "GET", "/b.js");
    fake_exchange_add_field(fake, "accept-encoding", "br");
    fake_exchange_add_field(fake, "range", "bytes=1-2");
    fake_exchange_add_field(fake, "if-range", tags[1]);
    run(f, fake);
    assert_int_equal(fake->status, 206);
    assert_string_equal(fake->body, "nb");
    assert_string_equal(fake_exchange_answer(fake, "content-range"), "bytes 1-2/5");
    assert_string_equal(fake_exchange_answer(fake, "content-encoding"), "br");
    fake = begin(f, 0, "GET", "/b.js"); /* the rest of another coding would be of no use */
    fake_exchange_add_field(fake, "accept-encoding", "gzip");
    fake_exchange_add_field(fake, "range", "bytes=1-2");
    fake_exchange_add_field(fake, "if-range", tags[1]);
    run(f, fake);
    assert_int_equal(fake->status, 200);
    assert_string_equal(fake->body, "plain");
}

static void a_root_that_is_missing_is_an_error(void **state)
{
    struct fg_static_conf conf = {
        .root = "/nowhere/at/all", .index = "index.html", .cache_control = ""};
    struct fg_error error = {0};
    (void)state;
    assert_null(fg_static_create("site", &conf, &error));
    assert_non_null(strstr(error.message, "/nowhere/at/all"));
}

#define STATIC_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STATIC_TEST(serves_a_file),
        STATIC_TEST(serves_head_empty_files_and_indexes),
        STATIC_TEST(validators_make_304_and_ranges_206),
        STATIC_TEST(nothing_outside_is_reached),
        STATIC_TEST(links_are_followed_inside_or_not_at_all),
        STATIC_TEST(stepwise_opening_does_the_same),
        STATIC_TEST(a_directory_without_slash_is_redirected),
        STATIC_TEST(other_methods_are_told_what_is_allowed),
        STATIC_TEST(a_file_too_large_is_forbidden),
        STATIC_TEST(a_slow_client_stops_the_reading),
        STATIC_TEST(many_at_once_share_the_readers),
        STATIC_TEST(a_cancelled_exchange_may_be_gone_when_its_read_ends),
        STATIC_TEST(a_file_that_shrinks_is_never_ended_as_whole),
        STATIC_TEST(opens_what_stands_beside_it),
        STATIC_TEST(a_coded_file_has_validators_and_ranges_of_its_own),
        cmocka_unit_test(a_root_that_is_missing_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
