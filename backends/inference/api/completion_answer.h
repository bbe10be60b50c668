/*
 * completion_answer.h: the bytes of one answer, as server-sent events or as one JSON document.
 * Job      takes the model's text as it comes, hands out body bytes as the client takes them. Text
 *          that a slow client has not taken is joined into one event, so a backlog costs no
 *          framing. With logprobs or tools each piece is an event of its own, made when it comes.
 * Thread   the exchange's loop; no I/O, no clock.
 * Never    builds a JSON tree, or holds more than text_bytes_max of text or of made events.
 * Memory   the exchange's arena: a head made once, and what was not yet handed out.
 *
 *    stream    open (role) --> text, text, ... --> close (finish, usage?, [DONE]) --> complete;
 *              texts of several choices come as they are made, each event with its index
 *    document  made when the last choice is finished, in the order of their index --> complete
 *
 * Source   the OpenAI API's chat.completion, chat.completion.chunk and text_completion objects;
 *          events: HTML Living Standard, section 9.2.
 */
#ifndef FG_INFERENCE_COMPLETION_ANSWER_H
#define FG_INFERENCE_COMPLETION_ANSWER_H

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"
#include "inference/worker/channel.h"
#include "tool_calls.h"

enum fg_answer_step { FG_ANSWER_OPEN, FG_ANSWER_TEXT, FG_ANSWER_CLOSE, FG_ANSWER_COMPLETE };

/* Bytes in the arena: [at, len) has not been handed out. */
struct fg_answer_buffer {
    char *data;
    size_t at;
    size_t len;
    size_t capacity;
};

/* The parts of a document's logprobs: one list for chats, four beside each other otherwise. */
#define FG_ANSWER_COLUMNS 4

/* What belongs to one choice alone. Several are written at the same time. */
struct fg_answer_choice {
    struct fg_tool_call_reader calls; /* is_only is set at init */
    uint32_t call_count;
    size_t text_offset; /* of the next token, for logprobs of plain completions */
    bool is_finished;
    const char *finish_reason;      /* constant */
    struct fg_answer_buffer text;   /* unescaped */
    struct fg_answer_buffer called; /* documents: the calls, as JSON */
    struct fg_answer_buffer columns[FG_ANSWER_COLUMNS];
};

struct fg_completion_answer {
    /* configuration */
    bool is_chat;
    bool is_stream;
    bool include_usage;  /* streams only; a document always has it */
    bool has_logprobs;   /* tokens come with them */
    bool takes_calls;    /* calls of tools are looked for in the text */
    bool forces_call;    /* the text is a call and nothing else */
    bool is_embedding;   /* finish brings a vector of little-endian f32s instead of text */
    bool is_base64;      /* how vectors are written */
    uint32_t choice_max; /* choices that it will have; 0 is 1 */
    struct fg_span head; /* "id":...,"object":...,"created":...,"model":... */
    struct fg_arena *arena;
    size_t text_bytes_max;

    /* state */
    enum fg_answer_step step;
    uint32_t choice;                  /* the one that is being written */
    uint32_t opened;                  /* choices whose first event is out */
    struct fg_answer_choice *choices; /* (choice_max), made at init; one for all of embeddings */
    struct fg_span *vectors;          /* (choice_max) of embeddings, that came before their turn */
    uint32_t written;                 /* embeddings that are made into text, in their order */
    struct fg_span id;                /* given at init */
    struct fg_span model;             /* likewise, as a JSON string */
    struct fg_answer_buffer ready;    /* made: events, or a document */

    bool is_finished; /* all choices are */
    uint32_t finished_count;
    uint32_t prompt_tokens;
    uint32_t completion_tokens; /* of all choices so far */
    uint32_t cached_tokens;     /* of the prompt */
};

/*
 * Begin an answer over a zeroed object with its configuration filled in. `id` is plain ASCII;
 * `model` any text; `created` seconds since 1970.
 */
FG_MUST_USE enum fg_status fg_completion_answer_init(struct fg_completion_answer *answer,
                                                     const char *id, uint64_t created,
                                                     const char *model);

/*
 * Append a token's text to a choice that is not finished, with its logprobs where the answer has
 * them. FG_ERR_LIMIT beyond text_bytes_max, FG_ERR_NO_MEMORY when the arena is used up.
 */
FG_MUST_USE enum fg_status fg_completion_answer_add(struct fg_completion_answer *answer,
                                                    uint32_t choice,
                                                    const struct fg_channel_token *token);

/* What a worker said last. */
struct fg_completion_end {
    struct fg_span text;       /* the last of it */
    const char *finish_reason; /* constant: "stop", "length" */
    uint32_t prompt_tokens;
    uint32_t completion_tokens;
    uint32_t cached_tokens;
};

/* The choice has no more text. Fails as add does. */
FG_MUST_USE enum fg_status fg_completion_answer_finish(struct fg_completion_answer *answer,
                                                       uint32_t choice,
                                                       const struct fg_completion_end *end);

/*
 * As many body bytes as are ready and fit; 0 when there are none now. `room` is at least
 * fg_completion_answer_room_min, with which it always moves on.
 */
size_t fg_completion_answer_fill(struct fg_completion_answer *answer, char *out, size_t room);
size_t fg_completion_answer_room_min(const struct fg_completion_answer *answer);

/* The whole body of a finished document of which nothing was handed out yet. */
size_t fg_completion_answer_document_bytes(const struct fg_completion_answer *answer);

static inline uint32_t fg_answer_choice_count(const struct fg_completion_answer *answer)
{
    return answer->choice_max > 1 ? answer->choice_max : 1;
}

/* The choice that is being written. */
static inline struct fg_answer_choice *fg_answer_current(const struct fg_completion_answer *answer)
{
    return &answer->choices[answer->is_embedding ? 0 : answer->choice];
}

static inline bool fg_completion_answer_is_complete(const struct fg_completion_answer *answer)
{
    return answer->step == FG_ANSWER_COMPLETE;
}

#endif
