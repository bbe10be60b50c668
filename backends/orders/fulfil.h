/*
 * fulfil.h: the process that carries orders from accepted over confirmed to completed.
 */
#ifndef FG_ORDERS_FULFIL_H
#define FG_ORDERS_FULFIL_H

#include "orders/orders_conf.h"

#include <sys/types.h>

struct fg_fulfil_options {
    const struct fg_orders_conf *conf;
    uint32_t consumer_index; /* names the consumer in its group */
    pid_t parent_pid;        /* ends with it; 0: nobody to end with */
};

/* Runs until SIGTERM, which ends it cleanly within a moment; gives the exit code. */
int fg_fulfil_run(const struct fg_fulfil_options *options);

#endif
