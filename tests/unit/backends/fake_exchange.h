/*
 * fake_exchange.h: a request as the gateway would hand it over, and a record of what was answered.
 * Every call is checked against the order that backends/backend.h promises.
 * Thread   the test's. Memory: the heap; fini frees it.
 */
#ifndef FG_TEST_BACKENDS_FAKE_EXCHANGE_H
#define FG_TEST_BACKENDS_FAKE_EXCHANGE_H

#include "backends/backend.h"

enum fake_end { FAKE_OPEN, FAKE_ENDED, FAKE_REFUSED, FAKE_FAILED, FAKE_CANCELLED };

#define FAKE_FIELDS_MAX 64u

struct fake_exchange {
    struct fg_exchange ex; /* first */
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_field request_fields[FAKE_FIELDS_MAX];

    /* what came back */
    enum fake_end end;
    unsigned status;
    struct fg_field *fields; /* of the answer; valid until fini */
    size_t field_count;
    char *body;
    size_t body_len;
    size_t body_capacity;
    char code[64];
    char message[512];
    enum fg_failure failure;
    uint64_t retry_after_ms;
    char allow[64]; /* of a refusal, as are the next two */
    uint64_t value;
    uint64_t limit;
    size_t consumed;
    size_t write_count;
    size_t write_len_most;
    unsigned interim_status; /* of the last one */
    size_t interim_count;
    struct fg_field trailers[FAKE_FIELDS_MAX]; /* spans of the backend's */
    size_t trailer_count;
    bool has_released_slot;
    char hops[128]; /* "connect,upstream," */

    /* how the client behaves */
    size_t window; /* write returns false while this much or more is unread */
    size_t unread;

    /* called when the exchange has ended, from inside the ending call; may be NULL */
    void (*on_end)(struct fake_exchange *fake);
    void *on_end_arg;
};

/* `method` as text; no body. */
void fake_exchange_init(struct fake_exchange *fake, const char *method, const char *path,
                        const char *query);
/* Announces a body; content_length -1: unknown. */
void fake_exchange_has_body(struct fake_exchange *fake, int64_t content_length);
void fake_exchange_add_field(struct fake_exchange *fake, const char *name, const char *value);
/* Frees everything; an open exchange is the test's mistake. */
void fake_exchange_fini(struct fake_exchange *fake);

/* The value of a field of the answer, NUL-terminated in the arena; NULL when absent. */
const char *fake_exchange_answer(struct fake_exchange *fake, const char *name);
size_t fake_exchange_answer_count(const struct fake_exchange *fake, const char *name);

#endif
