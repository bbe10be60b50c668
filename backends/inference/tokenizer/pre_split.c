/*
 * pre_split.c: the published split patterns of three tokenizer families, run by PCRE2's JIT.
 * Thread   the start-up thread compiles; after that any thread matches, with match memory of
 *          its own.
 * Never    backtracks over more than the blanks it stands in: repeats are possessive wherever
 *          what follows cannot match what they took, so that any text is split in linear time.
 * Source   Qwen2 and Llama 3 tokenizer.json, GPT-2 encoder.py.
 *
 * Their \s is Unicode's White_Space; PCRE2's with UCP also takes U+180E, so it is spelled out here.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "inference/tokenizer/pre_split.h"

#include <pcre2.h>

#define BLANK "\\t-\\r \\x{85}\\p{Z}"
#define TAIL                                                                                       \
    "| ?+[^" BLANK "\\p{L}\\p{N}]++[\\r\\n]*+"                                                     \
    "|[" BLANK "]*[\\r\\n]++"                                                                      \
    "|[" BLANK "]+(?![^" BLANK "])"                                                                \
    "|[" BLANK "]++"
#define WORD "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++"

static const char qwen2_pattern[] = WORD "|\\p{N}" TAIL;
static const char llama3_pattern[] = WORD "|\\p{N}{1,3}+" TAIL;
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?+\\p{L}++| ?+\\p{N}++"
                                   "| ?+[^" BLANK "\\p{L}\\p{N}]++"
                                   "|[" BLANK "]+(?![^" BLANK "])|[" BLANK "]++";

struct family {
    const char *name; /* of tokenizer.ggml.pre */
    const char *pattern;
    bool is_llama3; /* takes whole pieces from the vocabulary; BOS unless the file says no */
};

static const struct family families[] = {
    {"qwen2", qwen2_pattern, false},
    {"deepseek-r1-qwen", qwen2_pattern, false},
    {"llama-bpe", llama3_pattern, true},
    {"llama-v3", llama3_pattern, true},
    {"llama3", llama3_pattern, true},
    {"gpt-2", gpt2_pattern, false},
    {"default", gpt2_pattern, false},
    {"", gpt2_pattern, false}, /* files from before the key existed */
};

static const struct family *find_family(struct fg_span name)
{
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        if (fg_span_equal(name, fg_span_from_string(families[i].name)))
            return &families[i];
    }
    return NULL;
}

enum fg_status fg_pre_split_init(struct fg_pre_split *split, struct fg_span name,
                                 struct fg_error *error)
{
    const struct family *family = find_family(name);
    int code;
    PCRE2_SIZE at;
    *split = (struct fg_pre_split){0};
    if (family == NULL)
        return fg_error_set(error,
                            "key tokenizer.ggml.pre: \"%.*s\" is not known; expected qwen2, "
                            "deepseek-r1-qwen, llama-bpe, llama-v3, llama3, gpt-2 or default",
                            name.len > 60 ? 60 : (int)name.len, name.data);
    split->code = pcre2_compile((PCRE2_SPTR)family->pattern, PCRE2_ZERO_TERMINATED,
                                PCRE2_UTF | PCRE2_NO_UTF_CHECK, &code, &at, NULL);
    if (split->code == NULL)
        return fg_error_set(error, "the split pattern of %s does not compile (PCRE2 error %d)",
                            family->name, code);
    /* Where machine code may not be made at run time, the interpreter does, only slower. */
    split->is_jit = pcre2_jit_compile(split->code, PCRE2_JIT_COMPLETE) == 0;
    split->ignores_merges = family->is_llama3;
    split->adds_bos = family->is_llama3;
    return FG_OK;
}

void fg_pre_split_fini(struct fg_pre_split *split)
{
    pcre2_code_free(split->code);
    split->code = NULL;
}

void fg_pre_split_run_fini(struct fg_pre_split_run *run)
{
    pcre2_match_data_free(run->match);
    run->match = NULL;
}

static int match_at(const struct fg_pre_split_run *run, struct fg_span text, size_t at)
{
    const struct fg_pre_split *split = run->split;
    PCRE2_SPTR subject = (PCRE2_SPTR)text.data;
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (split->is_jit)
        rc = pcre2_jit_match(split->code, subject, text.len, at, 0, run->match, NULL);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(split->code, subject, text.len, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         run->match, NULL);
    return rc;
}

enum fg_status fg_pre_split_next(struct fg_pre_split_run *run, struct fg_span text, size_t *at,
                                 struct fg_span *piece)
{
    if (*at >= text.len)
        return FG_ERR_NOT_FOUND;
    if (run->match == NULL)
        run->match = pcre2_match_data_create(1, NULL);
    if (run->match == NULL)
        return FG_ERR_NO_MEMORY;
    size_t end = text.len;
    int rc = match_at(run, text, *at);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        return FG_ERR_NO_MEMORY; /* the only errors left are limits of the matcher's memory */
    if (rc >= 0) {
        const PCRE2_SIZE *found = pcre2_get_ovector_pointer(run->match);
        /* The patterns match at every place; should one not, what it skipped is a piece too. */
        end = found[0] > *at ? found[0] : found[1];
        if (end <= *at)
            end = text.len;
    }
    *piece = fg_span_make(text.data + *at, end - *at);
    *at = end;
    return FG_OK;
}
