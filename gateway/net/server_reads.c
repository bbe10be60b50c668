/*
 * server_reads.c: reads of backends that go last in a turn of the loop.
 * Job      a line of their own, which has one share of a turn with those of the clients.
 * Thread   the loop's.
 */
#include "net/server_reads.h"

static struct fg_last_line *line_of(struct fg_last_reads *reads)
{
    return &((struct fg_server_reads *)reads)->line;
}

static void add(struct fg_last_reads *reads, struct fg_last_read *read, uint64_t owner)
{
    fg_last_line_add(line_of(reads), &read->place, owner);
}

static void leave(struct fg_last_reads *reads, struct fg_last_read *read)
{
    fg_last_line_remove(line_of(reads), &read->place);
}

static void serve(struct fg_last_place *place)
{
    struct fg_last_read *read = FG_CONTAINER_OF(place, struct fg_last_read, place);
    read->serve(read);
}

void fg_server_reads_init(struct fg_server_reads *reads, struct fg_loop *loop, uint64_t budget_ns)
{
    *reads = (struct fg_server_reads){.base = {.add = add, .remove = leave}};
    fg_read_turn_init_for_servers(&reads->base.law, budget_ns);
    fg_last_line_init(&reads->line, loop, fg_loop_last_share(loop), serve);
    reads->line.budget_ns = budget_ns;
}

void fg_server_reads_fini(struct fg_server_reads *reads)
{
    if (reads->line.loop != NULL)
        fg_last_line_fini(&reads->line);
}
