/*
 * fake_client.h: nghttp2's own client before a codec in memory (fake_transport.h), which notes what
 * each of its streams was answered.
 */
#ifndef FG_TESTS_FAKE_CLIENT_H
#define FG_TESTS_FAKE_CLIENT_H

#include "fake_transport.h"

#include <nghttp2/nghttp2.h>

#define ANSWERS_MAX 64

struct answer {
    int status;
    size_t body_bytes;
    char body[64];
    bool has_lasting; /* "x-lasting: from the arena" */
    bool is_plain;    /* "content-type: text/plain" */
    bool has_hint;    /* "link: </a>" */
    bool has_sum;     /* "x-sum: abc" */
    size_t wide;      /* bytes of x-wide, each a w */
    bool is_ended;
    bool is_closed;
    uint32_t error_code;
};

struct client {
    struct fake fake;
    nghttp2_session *session;
    struct answer answers[ANSWERS_MAX]; /* by stream id / 2 */
    size_t upload_left;                 /* of the one body being sent */
    bool is_upload_open;                /* more may follow */
    unsigned goaways;
    int32_t last_goaway_id;
};

/* The default limits where NULL. `window` is what each stream of the client starts with. */
struct client *client_open(const struct fg_limits_conf *limits, uint32_t window);
void client_close(struct client *client);

/* Bytes go both ways until neither side has any left. */
void client_exchange(struct client *client);

nghttp2_nv client_nv(const char *name, const char *value);
int32_t client_submit(struct client *client, const nghttp2_nv *fields, size_t count, bool has_body);
int32_t client_get(struct client *client, const char *path);
int32_t client_post(struct client *client, const char *path, size_t bytes);

struct answer *client_answer(struct client *client, int32_t id);

#endif
