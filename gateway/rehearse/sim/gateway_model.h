/*
 * gateway_model.h: the gateway under virtual time: the production policies in the order of the
 * stages, before imagined backends.
 * Job      what pipeline/stage_*.c do with sockets, locks and timers, done with events instead;
 *          every decision is made by the same objects in policies/, built from the same
 *          configuration by the same functions.
 * Thread   one owner. Memory: a request's state is taken from chunks and used again.
 * Departs  The cache is one object a route that stays fresh for its time; identity is given; the
 *          process's pressure comes from the scenario's costs, and loop lag delays no answer.
 *
 *    users' port --> overload -> waiting room -> rate limits -> cache -> gate -> breaker -> model
 */
#ifndef FG_REHEARSE_GATEWAY_MODEL_H
#define FG_REHEARSE_GATEWAY_MODEL_H

#include "policies/gate_policy.h"
#include "policies/overload.h"
#include "rehearse/users.h"

struct fg_gateway_model;

/* All are borrowed and outlive it. NULL without memory. */
struct fg_gateway_model *fg_gateway_model_create(const struct fg_scenario *scenario,
                                                 const struct fg_config *config,
                                                 struct fg_event_heap *heap,
                                                 struct fg_tally *tally);
void fg_gateway_model_destroy(struct fg_gateway_model *model);

/* The port for the users, and the users that it answers. */
struct fg_users_port fg_gateway_model_port(struct fg_gateway_model *model);
void fg_gateway_model_serve(struct fg_gateway_model *model, struct fg_users *users);

/* Any event that is not the users'. */
void fg_gateway_model_on_event(struct fg_gateway_model *model, const struct fg_event *event);

/* Writes the backends' gauges at the end of a stretch of time into the tally. */
void fg_gateway_model_sample(struct fg_gateway_model *model, size_t bucket, uint64_t now_ns);

/* For tests: the gate before a backend, and the process's pressure. */
const struct fg_gate_policy *fg_gateway_model_gate(const struct fg_gateway_model *model,
                                                   size_t backend);
const struct fg_overload *fg_gateway_model_overload(const struct fg_gateway_model *model);

/* False: memory for a request was missing at some time, and the run cannot be trusted. */
bool fg_gateway_model_is_complete(const struct fg_gateway_model *model);

#endif
