/*
 * pre_split.h: cuts text into the pieces that tokens never cross: words, numbers, marks, blanks.
 * Thread   the compiled pattern is immutable: any. A run belongs to one caller.
 */
#ifndef FG_INFERENCE_PRE_SPLIT_H
#define FG_INFERENCE_PRE_SPLIT_H

#include "base/span.h"
#include "base/status.h"

struct fg_pre_split {
    void *code;          /* pcre2_code */
    bool is_jit;         /* compiled to machine code */
    bool ignores_merges; /* a piece that is a token as a whole is taken as that token */
    bool adds_bos;       /* what files of this kind mean when they do not say */
};

/* `name` as in tokenizer.ggml.pre, empty when the file has none. Still fit for fini on failure. */
enum fg_status fg_pre_split_init(struct fg_pre_split *split, struct fg_span name,
                                 struct fg_error *error);
void fg_pre_split_fini(struct fg_pre_split *split);

/* The walk over one text. Zeroed with `split` is ready; the match memory is kept between texts. */
struct fg_pre_split_run {
    const struct fg_pre_split *split;
    void *match; /* pcre2_match_data */
};
void fg_pre_split_run_fini(struct fg_pre_split_run *run);

/*
 * The piece of `text` (valid UTF-8) that starts at *at, which moves behind it. FG_ERR_NOT_FOUND at
 * the end, FG_ERR_NO_MEMORY.
 */
enum fg_status fg_pre_split_next(struct fg_pre_split_run *run, struct fg_span text, size_t *at,
                                 struct fg_span *piece);

#endif
