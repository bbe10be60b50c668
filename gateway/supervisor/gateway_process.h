/*
 * gateway_process.h: the process that serves clients: event loops, pipeline, backends, admin
 * server.
 *
 *    main thread      waits for SIGTERM, then drains; meanwhile reads certificates and keys anew
 *                     when their files change
 *    loop 0 .. N-1    clients, upstreams, Redis, worker channels; share nothing but what is _shared
 *    admin loop       the admin listener, and the overload samples
 *    helpers          file reads, compression
 */
#ifndef FG_SUPERVISOR_GATEWAY_PROCESS_H
#define FG_SUPERVISOR_GATEWAY_PROCESS_H

#include "config/config.h"
#include "supervisor/sockets.h"

struct fg_change_board;
struct fg_kv_arena;
struct fg_nonce_table;
struct fg_reload_board;
struct fg_room_memory;
struct fg_ticket_memory;

struct fg_gateway_options {
    const struct fg_config *config;
    const struct fg_sockets *sockets;
    struct fg_kv_arena *arena; /* NULL without inference */
    int ready_fd;              /* one byte is written and the fd closed once clients are served */
    struct fg_reload_board *reloads;    /* the supervisor's; NULL: none */
    struct fg_change_board *changes;    /* the supervisor's */
    const unsigned char *ticket_seed;   /* FG_TICKET_SEED_BYTES, the same over reloads */
    struct fg_ticket_memory *tickets;   /* of their secrets; NULL: none are kept */
    const struct fg_room_memory *lines; /* of waiting rooms, by route; NULL: none outlives it */
    struct fg_nonce_table *nonces;      /* of signed requests; NULL: none are kept */
    const struct fg_page_memory *pages; /* of the cache's pinned ones; NULL: none are there */
};

/*
 * Serves until SIGTERM or SIGINT, then drains for at most limits.drain_timeout. Returns the exit
 * code: 0, or 2 with one line on stderr when it could not start.
 */
int fg_gateway_process_run(const struct fg_gateway_options *options);

#endif
