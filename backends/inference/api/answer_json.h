/*
 * answer_json.h: the JSON of an answer's pieces, written into a buffer or only counted; internal to
 * completion_answer.
 * Thread   any; pure.
 */
#ifndef FG_INFERENCE_ANSWER_JSON_H
#define FG_INFERENCE_ANSWER_JSON_H

#include "completion_answer.h"

/* Bytes being built; once something did not fit, nothing more is written. `out` NULL: counted. */
struct fg_answer_sink {
    char *out;
    size_t used;
    size_t room;
    bool is_full;
};

void fg_answer_put(struct fg_answer_sink *sink, struct fg_span bytes);

/* All that surrounds the pieces of a stream. */
void fg_answer_put_stream_open(struct fg_answer_sink *sink,
                               const struct fg_completion_answer *answer);
void fg_answer_put_stream_close(struct fg_answer_sink *sink,
                                const struct fg_completion_answer *answer);
/*
 * One event with as much of `text` as fits, returned in bytes of text; 0: not even one character,
 * and the sink is as before.
 */
size_t fg_answer_put_text_event(struct fg_answer_sink *sink,
                                const struct fg_completion_answer *answer, struct fg_span text);

/* A piece that becomes an event of its own, or part of a document. */
struct fg_answer_piece {
    const struct fg_channel_token *token; /* with logprobs; NULL: none */
    struct fg_span text;
    struct fg_span call_name; /* data NULL: no call */
    struct fg_span call_arguments;
    size_t text_offset;
    unsigned column; /* of a document's logprobs */
};
void fg_answer_put_piece_event(struct fg_answer_sink *sink,
                               const struct fg_completion_answer *answer,
                               const struct fg_answer_piece *piece);
/* An entry of the list of calls, or of piece->column; a comma in front of all but the first. */
void fg_answer_put_call(struct fg_answer_sink *sink, const struct fg_completion_answer *answer,
                        const struct fg_answer_piece *piece);
void fg_answer_put_column(struct fg_answer_sink *sink, const struct fg_completion_answer *answer,
                          const struct fg_answer_piece *piece);

/* What ends a choice in a stream whose events are made ahead. `piece` is not looked at. */
void fg_answer_put_choice_event(struct fg_answer_sink *sink,
                                const struct fg_completion_answer *answer,
                                const struct fg_answer_piece *piece);
/* The choice that is finished, of a document, with what stands before the first and behind the
 * last. */
void fg_answer_put_choice(struct fg_answer_sink *sink, const struct fg_completion_answer *answer,
                          const struct fg_answer_piece *piece);
/* The same of a list of embeddings; piece->text is the vector. */
void fg_answer_put_embedding(struct fg_answer_sink *sink, const struct fg_completion_answer *answer,
                             const struct fg_answer_piece *piece);

#endif
