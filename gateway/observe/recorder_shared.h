/*
 * recorder_shared.h: what was decided about each of the last requests of a loop, for `explain`.
 * Protocol  the loop writes a record that nobody looks at yet, then adds it under the mutex; any
 *           thread looks up under it. Who found a record has let the mutex go before the loop could
 *           add so many that this one is the next to be written.
 * Memory    fixed at create: capacity x about 1 KiB; the oldest record makes room. Texts in a
 *           decision are constants, or live as long as the configuration.
 */
#ifndef FG_OBSERVE_RECORDER_SHARED_H
#define FG_OBSERVE_RECORDER_SHARED_H

#include "base/span.h"
#include "observe/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_DECISIONS_MAX 12
#define FG_DECISION_NO_VALUE UINT64_MAX

enum fg_decided {
    FG_DECIDED_PASS,
    FG_DECIDED_WAIT,
    FG_DECIDED_REFUSE,
    FG_DECIDED_WOULD_WAIT,   /* in shadow: let pass all the same */
    FG_DECIDED_WOULD_REFUSE, /* likewise */
};

/* One decision of one policy. */
struct fg_decision {
    const char *stage;
    const char *policy; /* its name in the configuration, or NULL */
    const char *reason; /* why it was refused, or NULL */
    enum fg_decided decided;
    uint64_t value;    /* what was compared, FG_DECISION_NO_VALUE: nothing was */
    uint64_t limit;    /* with what */
    uint64_t wait_ns;  /* expected, or told to come back after; UINT64_MAX: not known */
    uint64_t after_ns; /* since the request began */
};

struct fg_record {
    char request_id[65];
    char method[12];
    char path[128]; /* cut to fit */
    char client[46];
    char user[64];
    const char *route; /* NULL: none matched */
    char endpoint[64]; /* who answered or failed last; empty: none was chosen */
    unsigned attempts; /* 0: no server was asked */
    bool was_hedged;
    uint64_t started_wall_ns;
    uint64_t total_ns;
    uint64_t hop_ns[FG_HOP_COUNT];
    unsigned status;
    enum fg_failed failed;
    bool was_aborted;
    const char *gone; /* why, as the codec says, a constant; NULL: it does not */
    enum fg_cache_result cache;
    uint32_t priority_number;
    uint32_t level; /* of the backend's gate; FG_DECISION_NO_VALUE cut to 32 bits: not asked */
    size_t decision_count;
    struct fg_decision decisions[FG_DECISIONS_MAX];
};

struct fg_recorder;

/* NULL without memory. `capacity` at least 1. */
struct fg_recorder *fg_recorder_create(size_t capacity);
void fg_recorder_destroy(struct fg_recorder *recorder);

/* The record to be written next; what is in it was another one's. The recorder's loop. */
struct fg_record *fg_recorder_next(struct fg_recorder *recorder);
/* Adds what was written there, with as many decisions as it says. The recorder's loop. */
void fg_recorder_add(struct fg_recorder *recorder);

/* The newest record of that request. Any thread. False: none any more. */
bool fg_recorder_find(struct fg_recorder *recorder, struct fg_span request_id,
                      struct fg_record *record);

/* Constant names: "pass", "wait", "refuse", "would_wait", "would_refuse". */
const char *fg_decided_name(enum fg_decided decided);

#endif
