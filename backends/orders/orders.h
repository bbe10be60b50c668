/*
 * orders.h: the order path as a backend: coupons, invites and orders, with Redis as the truth.
 * Thread   see backends/backend.h.
 */
#ifndef FG_ORDERS_ORDERS_H
#define FG_ORDERS_ORDERS_H

#include "backends/backend.h"
#include "orders/orders_conf.h"

extern const struct fg_backend_ops fg_orders_backend_ops;

/*
 * `name` and `conf` stay the caller's and outlive the backend. NULL with `error` set when the
 * configuration cannot work. Connects to nothing: that is thread_open's, and a Redis that is not
 * there yet is waited for.
 */
struct fg_backend *fg_orders_create(const char *name, const struct fg_orders_conf *conf,
                                    struct fg_error *error);

#endif
