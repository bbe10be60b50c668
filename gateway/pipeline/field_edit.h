/*
 * field_edit.h: header fields set, added and removed as the route says.
 * Thread   the request's loop.
 * Memory   the request's arena.
 */
#ifndef FG_PIPELINE_FIELD_EDIT_H
#define FG_PIPELINE_FIELD_EDIT_H

#include "flow.h"

/*
 * *fields with the edits done, in a new array: first what is removed (and what is set) goes, then
 * what is set and added comes. A value whose variables are all empty, with no text of its own, is
 * left out: no field says that nobody is the user. False: no memory.
 */
bool fg_field_edit_some(const struct fg_flow *flow, const struct fg_field_edits_conf *edits,
                        const struct fg_field **fields, size_t *count);

/*
 * Those of `fields` that the edits neither remove nor set, to `kept`, which has room for all and
 * may be `fields`; how many these are. For what is no head: nothing is set or added there.
 */
size_t fg_field_edit_keep(const struct fg_field_edits_conf *edits, const struct fg_field *fields,
                          size_t count, struct fg_field *kept);

/* The same as fg_field_edit_some; most routes have no edits. */
static inline bool fg_field_edit(const struct fg_flow *flow,
                                 const struct fg_field_edits_conf *edits,
                                 const struct fg_field **fields, size_t *count)
{
    return (edits->set_count | edits->add_count | edits->remove_count) == 0 ||
           fg_field_edit_some(flow, edits, fields, count);
}

#endif
