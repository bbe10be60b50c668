/*
 * server_reads.h: reads of backends that go last in a turn of the loop.
 * Thread   the loop's.
 */
#ifndef FG_NET_SERVER_READS_H
#define FG_NET_SERVER_READS_H

#include "backends/last_reads.h"
#include "net/last_line.h"

struct fg_server_reads {
    struct fg_last_reads base; /* first */
    struct fg_last_line line;
};

/* `budget_ns` of a turn, as for fg_read_turn_init_for_servers. */
void fg_server_reads_init(struct fg_server_reads *reads, struct fg_loop *loop, uint64_t budget_ns);
/* Nobody waits. Harmless for a zeroed one. */
void fg_server_reads_fini(struct fg_server_reads *reads);

#endif
