/*
 * schema_backends.c: the tables of static directories and clusters.
 * The defaults are those of a small server; where a figure is not obvious, its reason stands
 * beside.
 */
#include "config/raw.h"
#include "config/schema.h"
#include "config/schema_gates.h"

#define AT(type, member) (uint32_t) offsetof(struct type, member)
#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define MINUTE (60 * S)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const struct fg_choice codings[] = {
    {"gzip", FG_CODING_GZIP}, {"zstd", FG_CODING_ZSTD}, {"br", FG_CODING_BR}, {NULL, 0}};

static const struct fg_choice symlinks[] = {
    {"inside", FG_FILE_SYMLINKS_INSIDE}, {"none", FG_FILE_SYMLINKS_NONE}, {NULL, 0}};

#define L(member) AT(fg_raw_backend, conf.files.member)
static const struct fg_key static_keys[] = {
    {.name = "root",
     .type = FG_KEY_PATH,
     .offset = L(root),
     .is_required = true,
     .check = fg_text_check_not_empty,
     .doc = "The directory, opened at the start and on reload. Nothing outside it is served, nor "
            "names that begin with a dot."},
    {.name = "symlinks",
     .type = FG_KEY_ENUM,
     .offset = L(symlinks),
     .initial = "inside",
     .choices = symlinks,
     .doc = "`inside`: symbolic links are followed where they are relative and lead to something "
            "below `root`, also to names that begin with a dot: a ConfigMap or Secret that "
            "Kubernetes mounts consists of such, and may be exchanged at any time. `none`: what "
            "one leads to is not found."},
    {.name = "index",
     .type = FG_KEY_STRING,
     .offset = L(index),
     .initial = "index.html",
     .check = fg_text_check_file_name,
     .doc = "File for a path that ends in `/`."},
    {.name = "file_max",
     .type = FG_KEY_SIZE,
     .offset = L(file_bytes_max),
     .initial = "64MiB",
     .min = 1,
     .max = 1024 * GIB,
     .doc = "A larger file is answered 403."},
    {.name = "cache_control",
     .type = FG_KEY_STRING,
     .offset = L(cache_control),
     .initial = "public, max-age=60",
     .check = fg_text_check_field_value,
     .doc = "`Cache-Control` of every file; also how long our own cache keeps it."},
    {.name = "precompressed",
     .type = FG_KEY_BITS,
     .offset = L(precompressed),
     .choices = codings,
     .derived = "none",
     .doc = "Codings in which files may stand beside themselves (`a.js.gz`, `a.js.zst`, "
            "`a.js.br`), for clients that take them; one that is older than its file is not used. "
            "Of a route with a cache, `policies.cache.compress` makes them instead."},
    {.name = "ranges_max",
     .type = FG_KEY_U32,
     .offset = L(ranges_max),
     .initial = "16",
     .min = 1,
     .max = 64,
     .doc = "Ranges in one request that are answered as parts (multipart/byteranges); one with "
            "more gets the whole file."},
    {.name = "slow_reader_max",
     .type = FG_KEY_DURATION,
     .offset = L(slow_reader_max_ns),
     .initial = "1s",
     .zero_word = "off",
     .min = 10 * MS,
     .max = 600000 * MS,
     .doc = "While requests wait for a slot of `concurrency`, an answer of which its client has "
            "taken less than 4 KiB for so long gives its own up, and is reset. Else "
            "`limits.write_timeout` alone ends it."},
    {.name = "slow_reader_share",
     .type = FG_KEY_PERMILLE,
     .offset = L(slow_reader_permille),
     .initial = "10%",
     .min = 1,
     .max = 1000,
     .doc = "Of the slots, what one client's address may hold with answers that wait for it, while "
            "requests wait or descriptors are short; never fewer than 8. It gets no further one "
            "then, and what is above goes after `slow_reader_grace`."},
    {.name = "slow_reader_grace",
     .type = FG_KEY_DURATION,
     .offset = L(slow_reader_grace_ns),
     .initial = "250ms",
     .min = 1 * MS,
     .max = 600000 * MS,
     .doc = "Like `slow_reader_max`, for answers above `slow_reader_share`."},
    FG_GATE_KEYS(FG_BACKEND_STATIC, fg_raw_backend, conf),
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_static = {
    .path = "static.NAME",
    .doc = "A directory of files; a route leads to it with `to: static:NAME`.",
    .keys = static_keys,
    .bytes = sizeof(struct fg_raw_backend),
    .name_offset = AT(fg_raw_backend, conf.name),
    .node_offset = AT(fg_raw_backend, node),
    .shorthand = "root",
    .example = "{root: /srv/www}",
};
