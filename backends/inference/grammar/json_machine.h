/*
 * json_machine.h: reads an answer byte by byte and knows which bytes can still lead to JSON that
 * keeps to a schema.
 * Job      say whether a token may come next, and take the one that did.
 * Thread   one owner. Nothing blocks, nothing allocates.
 * Memory   one object of 170 KiB a constrained sequence. Nesting and the number of readings
 *          that an `anyOf` keeps open at once are bounded; what goes beyond cannot be written.
 * Source   RFC 8259. Between values at most BLANKS_MAX blanks may stand, so that no model can go on
 *          with blanks for ever.
 *
 *    reading = stack of frames     { object: key, colon, value, ... } [ array ] "string" 12.5 true
 *    step    every reading takes the byte or dies; a frame that may be one of several forks it
 */
#ifndef FG_INFERENCE_JSON_MACHINE_H
#define FG_INFERENCE_JSON_MACHINE_H

#include "inference/grammar/json_schema.h"

/* As many as an answer may have beginnings in common with: all tools of a request, say. */
#define FG_JSON_READINGS_MAX 136u

struct fg_json_frame {
    uint64_t seen; /* object: a bit for each property that was written */
    uint32_t node;
    uint32_t low, high; /* literals or property names that what was read can still become */
    uint32_t at;        /* bytes of the literal or name, characters of the string, digits, items */
    uint16_t blanks;    /* in a row */
    uint8_t phase;
    uint8_t text; /* where in a string or a number */
};

struct fg_json_reading {
    uint32_t depth; /* 0: the value is complete */
    struct fg_json_frame frames[FG_JSON_DEPTH_MAX];
};

struct fg_json_machine {
    const struct fg_json_schema *schema; /* borrowed */
    uint32_t reading_count;
    struct fg_json_reading readings[FG_JSON_READINGS_MAX];
};

void fg_json_machine_init(struct fg_json_machine *machine, const struct fg_json_schema *schema);

/* Take all of `bytes`; false when they cannot stand here, and then the machine is of no more use.
 */
bool fg_json_machine_take(struct fg_json_machine *machine, struct fg_span bytes);

/* Whether they could be taken; `scratch` is overwritten. An empty token never can. */
bool fg_json_machine_allows(const struct fg_json_machine *machine, struct fg_span bytes,
                            struct fg_json_machine *scratch);

/* What was taken is a whole value. */
bool fg_json_machine_may_end(const struct fg_json_machine *machine);
/* ... and nothing but blanks could follow. */
bool fg_json_machine_is_over(const struct fg_json_machine *machine);

#endif
