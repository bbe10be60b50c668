/*
 * static_conf.h: what the configuration says about a directory of files. Filled by gateway/config;
 * strings belong to the configuration snapshot.
 */
#ifndef FG_STATIC_CONF_H
#define FG_STATIC_CONF_H

#include <stdint.h>

enum fg_file_symlinks {
    FG_FILE_SYMLINKS_NONE,   /* no file is found by way of one */
    FG_FILE_SYMLINKS_INSIDE, /* relative ones, as long as they lead to something below the root */
};

struct fg_static_conf {
    const char *root;  /* directory, absolute once loaded */
    const char *index; /* file served for a path that ends in '/'; "index.html" */
    enum fg_file_symlinks symlinks;
    uint64_t file_bytes_max;       /* larger files are refused with 403 */
    const char *cache_control;     /* sent with every file; "public, max-age=60" */
    uint32_t precompressed;        /* 1 << enum fg_coding each: files of these are looked for */
    uint32_t ranges_max;           /* of one request; more are answered with the whole */
    uint64_t slow_reader_max_ns;   /* without progress, while others wait; 0: never mind */
    uint32_t slow_reader_permille; /* of the slots, for one client's unread answers; 0: all */
    uint64_t slow_reader_grace_ns; /* without progress, of those above that share */
};

#endif
