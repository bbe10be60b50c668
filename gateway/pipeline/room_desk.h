/*
 * room_desk.h: where a client asks for its place in a waiting room without trying to come in. A
 * backend like any other, but the gateway's own.
 *
 *    GET      where do I stand? Keeps the place
 *    GET      with Accept: text/event-stream: the same each second, until the turn comes
 *    POST     the same as GET, and joins the line where nobody is known
 *    DELETE   gives the place back
 *
 * Thread   as backends/backend.h.
 */
#ifndef FG_PIPELINE_ROOM_DESK_H
#define FG_PIPELINE_ROOM_DESK_H

#include "backends/backend.h"

/* NULL without memory. Its exchanges are flows of pipeline/. */
struct fg_backend *fg_room_desk_create(void);

#endif
