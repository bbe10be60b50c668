/*
 * tool_calls.h: finds the calls of tools in what a model writes.
 * Job      text goes in by pieces; what is said comes out as text,
 *          "<tool_call>\n{...}\n</tool_call>" as a call. What cannot be read as a call stays text.
 * Thread   the exchange's loop; no I/O.
 * Memory   the arena of the request: the piece that may yet become a call, nothing else.
 * Source   the form that Qwen2.5 and Qwen3 are trained on (Hermes).
 *
 *    TEXT --"<tool_call>"--> CALL --"</tool_call>"--> TEXT
 */
#ifndef FG_INFERENCE_TOOL_CALLS_H
#define FG_INFERENCE_TOOL_CALLS_H

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"

struct fg_tool_call_events {
    enum fg_status (*on_text)(void *owner, struct fg_span text);
    /* `arguments` is a JSON object as text. Both are valid during the call. */
    enum fg_status (*on_call)(void *owner, struct fg_span name, struct fg_span arguments);
    void *owner;
};

/* Zeroed with `arena` and `is_only` is ready. */
struct fg_tool_call_reader {
    struct fg_arena *arena;
    bool is_only; /* all of the answer is one call, without the marks around it */

    bool is_in_call;
    bool is_after_call; /* blanks between calls are nobody's text */
    char *held;
    size_t held_len;
    size_t held_capacity;
};

/*
 * Take the next piece; `is_last`: no further one comes, and nothing is held back. The first status
 * of an event that is not FG_OK ends it; FG_ERR_NO_MEMORY.
 */
FG_MUST_USE enum fg_status fg_tool_call_reader_feed(struct fg_tool_call_reader *reader,
                                                    struct fg_span text, bool is_last,
                                                    const struct fg_tool_call_events *events);

#endif
