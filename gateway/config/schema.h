/*
 * schema.h: what may stand in the file, as tables: the parser, the JSON Schema, /config and the
 * reference page are all driven by them, so that none can say something else than the others.
 * Thread   any; constants.
 *
 *    struct fg_table   one mapping: its keys, and the struct that one such mapping fills
 *      `-- struct fg_key   one key: type, place in the struct, default as text, range, a sentence
 *            `-- table         for a mapping inside it
 */
#ifndef FG_CONFIG_SCHEMA_H
#define FG_CONFIG_SCHEMA_H

#include "config/text_checks.h"

#include <stdbool.h>
#include <stdint.h>

enum fg_key_type {
    FG_KEY_BOOL,       /* bool */
    FG_KEY_U32,        /* uint32_t */
    FG_KEY_U64,        /* uint64_t */
    FG_KEY_DURATION,   /* uint64_t, ns */
    FG_KEY_SIZE,       /* uint64_t, bytes */
    FG_KEY_RATE,       /* struct fg_rate_conf */
    FG_KEY_PER_MINUTE, /* uint32_t, written as a rate */
    FG_KEY_PERMILLE,   /* uint32_t, written as a percentage */
    FG_KEY_BAND,       /* struct fg_overload_band, written as two percentages */
    FG_KEY_STRING,     /* const char *; NULL when absent */
    FG_KEY_PATH,       /* const char *; relative paths start at the file's directory */
    FG_KEY_ENUM,       /* an enum; choices[].value */
    FG_KEY_WORD,       /* const char *, one of the choices; NULL when absent */
    FG_KEY_BITS,       /* uint32_t, a list of choices, 1 << choices[].value each */
    FG_KEY_STRINGS,    /* const char **, count */
    FG_KEY_HEADERS,    /* struct fg_header_match *, count: a mapping of names to values */
    FG_KEY_FIELDS,     /* the same; values are templates, "*" is a value */
    FG_KEY_PARAMETERS, /* as HEADERS, names as they are */
    FG_KEY_OBJECT,     /* the table's struct, in place */
    FG_KEY_SWITCH,     /* as OBJECT, or true or false; a bool at count_offset says if it is there */
    FG_KEY_LIST,       /* array of the table's struct, count */
    FG_KEY_MAP,        /* the same, each under a name of the user's */
};

struct fg_choice {
    const char *word; /* NULL ends the array */
    int value;
};

struct fg_key {
    const char *name; /* NULL ends the array */
    enum fg_key_type type;
    uint32_t offset;
    uint32_t count_offset;
    const char *initial;   /* default, in the file's own notation; NULL: nothing, or derived */
    const char *derived;   /* what the default is then, for people; NULL: none */
    const char *zero_word; /* what is stored as 0 and shown for it; a written 0 may well mean
                              another thing ("none", where this is "off": no limit) */
    bool takes_zero;       /* a written 0 can mean nothing but the zero_word, and does no harm */
    uint64_t min;          /* of what is stored, but for the zero_word */
    uint64_t max;
    const struct fg_choice *choices;
    const struct fg_table *table;
    fg_text_check_fn check;
    bool is_required;
    bool is_secret;
    const char *doc;
};

struct fg_table {
    const char *path; /* "clusters.NAME.queue" */
    const char *doc;  /* one paragraph for the reference */
    const struct fg_key *keys;
    uint32_t bytes;        /* of the struct that one mapping fills */
    uint32_t name_offset;  /* members of a MAP: const char *, the name */
    uint32_t node_offset;  /* members of a LIST or MAP: const struct fg_yaml_node * */
    const char *shorthand; /* a plain value in place of the mapping sets this key */
    const char *example;   /* a valid value, for messages */
};

/* The whole file; fills struct fg_raw_config. */
extern const struct fg_table fg_table_root;

/* Its sections, by the file that defines them. */
extern const struct fg_table fg_table_listeners;
extern const struct fg_table fg_table_tls;
extern const struct fg_table fg_table_limits;
extern const struct fg_table fg_table_identity;
extern const struct fg_table fg_table_policies;
extern const struct fg_table fg_table_overload; /* of policies */
extern const struct fg_table fg_table_admin;
extern const struct fg_table fg_table_observability;
extern const struct fg_table fg_table_static;
extern const struct fg_table fg_table_clusters;
extern const struct fg_table fg_table_orders;
extern const struct fg_table fg_table_inference;
extern const struct fg_table fg_table_routes;

#define FG_LIST_MAX 4096u /* members of one list or mapping of the user's */

#endif
