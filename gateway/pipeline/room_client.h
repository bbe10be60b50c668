/*
 * room_client.h: how a client of a waiting room brings its ticket and gets the next one.
 *
 *    apps       the field x-floodgate-ticket, both ways
 *    browsers   a cookie of the room's, since a page that is navigated to cannot set a field
 *
 * Thread   the request's loop.
 */
#ifndef FG_PIPELINE_ROOM_CLIENT_H
#define FG_PIPELINE_ROOM_CLIENT_H

#include "base/text.h"
#include "flow.h"

/* Who asks, and the ticket or pass that it brings to `room`. */
struct fg_room_caller fg_room_caller_of(const struct fg_flow *flow, const struct fg_room *room);

/* Give `visit->paper` with the answer, in the field and, where one is of
 * use, as a cookie. */
void fg_room_give_paper(struct fg_flow *flow, const struct fg_room *room,
                        const struct fg_room_visit *visit);

/* Does a person look at the answer, in a browser? */
bool fg_room_wants_page(const struct fg_flow *flow);

/* Why a ticket did not count: "used", ...; NULL: it did, or there was none. */
const char *fg_room_fate_name(enum fg_room_fate fate);

/* A JSON object that says where somebody stands; at most FG_ROOM_JSON_BYTES. */
#define FG_ROOM_JSON_BYTES 352
void fg_room_add_json(struct fg_text *text, const struct fg_room_visit *visit);

/* The page of who waits; data is NULL without memory. */
struct fg_span fg_room_page(const struct fg_flow *flow, const struct fg_room_visit *visit);

#endif
