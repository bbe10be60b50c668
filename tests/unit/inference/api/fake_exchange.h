/*
 * fake_exchange.h: a request as the gateway would hand it over, and a record of what was answered.
 * Thread   the test's. Memory: fixed buffers in the object.
 */
#ifndef FG_TEST_FAKE_EXCHANGE_H
#define FG_TEST_FAKE_EXCHANGE_H

#include "backends/backend.h"

enum fake_end { FAKE_OPEN, FAKE_ENDED, FAKE_REFUSED, FAKE_FAILED };

struct fake_exchange {
    struct fg_exchange ex; /* first */
    struct fg_arena_pool pool;
    struct fg_arena arena;

    /* what came back */
    enum fake_end end;
    unsigned status;
    char content_type[64];
    char content_length[32];
    char code[64];
    char type[64];
    char message[512];
    uint64_t retry_after_ms;
    char allow[64]; /* of a refusal, as are the next two */
    uint64_t value;
    uint64_t limit;
    enum fg_failure failure;
    char body[65536];
    size_t body_len;
    unsigned write_count;
    char hops[128]; /* "ttft,decode," */

    /* how the client behaves */
    bool is_blocking; /* write returns false */
};

/* POST to `path`, nothing answered yet. The arena may hold `arena_bytes_max`. */
void fake_exchange_init(struct fake_exchange *fake, const char *path, size_t arena_bytes_max);
/* Frees the arena; a request that was not ended is the test's mistake. */
void fake_exchange_fini(struct fake_exchange *fake);

#endif
