/*
 * test_sentencepiece.c: vocabularies with scores, held against the definition: of all neighbours
 * whose text is a token, the pair with the highest score is joined, the leftmost first.
 */
#include "inference/tokenizer/tokenizer.h"
#include "golden.h"
#include "toy_gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FIRST_BYTE 3u
#define FIRST_NORMAL (FIRST_BYTE + 256u)
#define NORMALS_MAX ((size_t)200)
#define TEXT_MAX ((size_t)64)

/* Normal tokens with spaces as spaces. */
struct toy_pieces {
    size_t count;
    char text[NORMALS_MAX][TEXT_MAX];
    float scores[NORMALS_MAX];
};

static void add_piece(struct toy_pieces *pieces, const char *text, float score)
{
    assert_true(pieces->count < NORMALS_MAX && strlen(text) < TEXT_MAX);
    strncpy(pieces->text[pieces->count], text, TEXT_MAX - 1);
    pieces->scores[pieces->count++] = score;
}

static void write_spelled(struct toy_gguf *toy, const char *text)
{
    char spelled[3 * TEXT_MAX];
    size_t len = 0;
    for (; *text != '\0'; text++) {
        if (*text == ' ') {
            memcpy(spelled + len, "\xe2\x96\x81", 3);
            len += 3;
        } else {
            spelled[len++] = *text;
        }
    }
    toy_string(toy, fg_span_make(spelled, len));
}

static void write_score(struct toy_gguf *toy, float score)
{
    toy_raw(toy, &score, sizeof(score));
}

static void write_file(struct toy_gguf *toy, const struct toy_pieces *pieces, bool adds_space)
{
    size_t count = FIRST_NORMAL + pieces->count;
    char byte[8];
    toy_header(toy, 3, 0, 7);
    toy_key_string(toy, "tokenizer.ggml.model", "llama");
    toy_key_bool(toy, "tokenizer.ggml.add_space_prefix", adds_space);
    toy_key_u32(toy, "tokenizer.ggml.bos_token_id", 1);
    toy_key_u32(toy, "tokenizer.ggml.eos_token_id", 2);
    toy_key_array(toy, "tokenizer.ggml.tokens", TOY_STRING, count);
    toy_string(toy, FG_SPAN("<unk>"));
    toy_string(toy, FG_SPAN("<s>"));
    toy_string(toy, FG_SPAN("</s>"));
    for (unsigned i = 0; i < 256; i++) {
        snprintf(byte, sizeof(byte), "<0x%02X>", i);
        toy_string(toy, fg_span_from_string(byte));
    }
    for (size_t i = 0; i < pieces->count; i++)
        write_spelled(toy, pieces->text[i]);
    toy_key_array(toy, "tokenizer.ggml.token_type", TOY_I32, count);
    toy_u32(toy, 2);
    toy_u32(toy, 3);
    toy_u32(toy, 3);
    for (size_t i = FIRST_BYTE; i < count; i++)
        toy_u32(toy, i < FIRST_NORMAL ? 6 : 1);
    toy_key_array(toy, "tokenizer.ggml.scores", TOY_F32, count);
    for (size_t i = 0; i < FIRST_NORMAL; i++)
        write_score(toy, 0);
    for (size_t i = 0; i < pieces->count; i++)
        write_score(toy, pieces->scores[i]);
}

struct fixture {
    struct toy_gguf toy;
    struct fg_gguf *gguf;
    struct fg_tokenizer *tokenizer;
};

static void setup(struct fixture *f, const struct toy_pieces *pieces, bool adds_space)
{
    struct fg_error error = {0};
    *f = (struct fixture){0};
    write_file(&f->toy, pieces, adds_space);
    assert_int_equal(fg_gguf_parse(&f->gguf, f->toy.data, f->toy.len, &error), FG_OK);
    if (fg_tokenizer_create(&f->tokenizer, f->gguf, &error) != FG_OK)
        fail_msg("%s", error.message);
}

static void teardown(struct fixture *f)
{
    fg_tokenizer_destroy(f->tokenizer);
    fg_gguf_close(f->gguf);
    toy_gguf_fini(&f->toy);
}

/* ---- the definition, as slow as it is short ---- */

static size_t find_piece(const struct toy_pieces *pieces, const char *text, size_t len)
{
    for (size_t i = 0; i < pieces->count; i++) {
        if (strlen(pieces->text[i]) == len && memcmp(pieces->text[i], text, len) == 0)
            return i;
    }
    return SIZE_MAX;
}

static size_t character_len(const char *text)
{
    unsigned char c = (unsigned char)*text;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

static size_t encode_by_definition(const struct toy_pieces *pieces, const char *text, uint32_t *ids)
{
    size_t starts[512], count = 0, id_count = 0;
    for (const char *at = text; *at != '\0'; at += character_len(at))
        starts[count++] = (size_t)(at - text);
    starts[count] = strlen(text);
    for (;;) {
        size_t best = SIZE_MAX, best_piece = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            size_t piece = find_piece(pieces, text + starts[i], starts[i + 2] - starts[i]);
            if (piece != SIZE_MAX &&
                (best == SIZE_MAX || pieces->scores[piece] > pieces->scores[best_piece])) {
                best = i;
                best_piece = piece;
            }
        }
        if (best == SIZE_MAX)
            break;
        memmove(&starts[best + 1], &starts[best + 2], (count - best - 1) * sizeof(starts[0]));
        count--;
    }
    for (size_t i = 0; i < count; i++) {
        size_t piece = find_piece(pieces, text + starts[i], starts[i + 1] - starts[i]);
        if (piece != SIZE_MAX)
            ids[id_count++] = (uint32_t)(FIRST_NORMAL + piece);
        for (size_t at = starts[i]; piece == SIZE_MAX && at < starts[i + 1]; at++)
            ids[id_count++] = FIRST_BYTE + (unsigned char)text[at];
    }
    return id_count;
}

static void assert_as_defined(const struct fixture *f, const struct toy_pieces *pieces,
                              const char *text, bool adds_space)
{
    struct fg_token_list list = {.ids_max = 1000};
    char prefixed[400];
    uint32_t expected[1000];
    snprintf(prefixed, sizeof(prefixed), "%s%s", adds_space && text[0] != '\0' ? " " : "", text);
    size_t count = encode_by_definition(pieces, prefixed, expected);
    assert_int_equal(
        fg_tokenizer_encode(f->tokenizer, fg_span_from_string(text), FG_SPECIAL_PLAIN, &list),
        FG_OK);
    assert_int_equal(list.count, count);
    if (count > 0)
        assert_memory_equal(list.ids, expected, count * sizeof(expected[0]));
    fg_token_list_fini(&list);
}

/* ---- tests ---- */

static const struct toy_pieces *words(void)
{
    static struct toy_pieces pieces;
    pieces.count = 0;
    static const char *const ordered[] = {" t", "he", " the", "in", " in", "th", "  ", "    "};
    for (size_t i = 0; i < sizeof(ordered) / sizeof(ordered[0]); i++)
        add_piece(&pieces, ordered[i], -(float)i);
    static const char *const letters[] = {" ", "t", "h", "e", "i", "n", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
        add_piece(&pieces, letters[i], -100 - (float)i);
    return &pieces;
}

static void joins_the_highest_score_first(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "the",
                                        "the the",
                                        "tthe",
                                        "  the",
                                        "in the tin",
                                        "x the",
                                        "th\xc3\xa9",
                                        " the",
                                        "\n\n",
                                        "the  ",
                                        "    ",
                                        "\xe5\xa5\xb6\xe8\x8c\xb6",
                                        "thethethethethethethethethethethethethe"};
    for (int adds = 0; adds < 2; adds++) {
        struct fixture f;
        setup(&f, words(), adds == 1);
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
            assert_as_defined(&f, words(), texts[i], adds == 1);
        assert_true(fg_tokenizer_adds_bos(f.tokenizer));
        assert_true(fg_tokenizer_is_end(f.tokenizer, 2));
        teardown(&f);
    }
}

static void special_tokens_cut_the_text(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_token_list list = {.ids_max = 100};
    setup(&f, words(), true);
    assert_int_equal(
        fg_tokenizer_encode(f.tokenizer, FG_SPAN("the</s>in"), FG_SPECIAL_RECOGNISE, &list), FG_OK);
    const uint32_t expected[] = {FIRST_NORMAL + 2, 2, FIRST_NORMAL + 4};
    assert_int_equal(list.count, 3);
    assert_memory_equal(list.ids, expected, sizeof(expected));
    fg_token_list_fini(&list);
    teardown(&f);
}

static void bytes_fall_back_and_come_back(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_token_list list = {.ids_max = 100};
    struct fg_detokenizer detok = {0};
    char text[256], piece[256];
    size_t len = 0;
    setup(&f, words(), true);
    struct fg_span input = FG_SPAN("the \xe5\xa5\xb6\n!");
    assert_int_equal(fg_tokenizer_encode(f.tokenizer, input, FG_SPECIAL_PLAIN, &list), FG_OK);
    for (size_t i = 0; i < list.count; i++) {
        size_t part = fg_detokenizer_push(&detok, f.tokenizer, list.ids[i], piece, sizeof(piece));
        memcpy(text + len, piece, part);
        len += part;
    }
    assert_int_equal(len, input.len + 1);
    assert_memory_equal(text + 1, input.data, input.len);
    fg_token_list_fini(&list);
    list = (struct fg_token_list){.ids_max = 100};
    assert_int_equal(fg_tokenizer_encode(f.tokenizer, FG_SPAN("\xff"), FG_SPECIAL_PLAIN, &list),
                     FG_OK);
    assert_int_equal(list.count, 2); /* the space in front, and the byte */
    assert_int_equal(list.ids[1], FIRST_BYTE + 0xff);
    fg_token_list_fini(&list);
    teardown(&f);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Tokens joined from tokens, as training does it; some with equal scores. */
static void grow_vocabulary(struct toy_pieces *pieces, uint32_t *seed, bool space_leads)
{
    static const char *const letters[] = {" ", "a", "b", "c", "\xc3\xa9", "\xe5\xa5\xb6"};
    pieces->count = 0;
    for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
        add_piece(pieces, letters[i], -1000 - (float)i);
    for (int i = 0; i < 120; i++) {
        char joined[2 * TEXT_MAX];
        const char *left = pieces->text[next_random(seed) % pieces->count];
        const char *right = pieces->text[next_random(seed) % pieces->count];
        snprintf(joined, sizeof(joined), "%s%s", left, right);
        bool has_inner = right[0] == ' ' && left[strlen(left) - 1] != ' ';
        if (strlen(joined) < TEXT_MAX / 2 && !(space_leads && has_inner) &&
            find_piece(pieces, joined, strlen(joined)) == SIZE_MAX)
            add_piece(pieces, joined, -(float)(i / 3));
    }
}

static void any_vocabulary_and_text_as_defined(void **state)
{
    (void)state;
    static struct toy_pieces pieces;
    static const char *const parts[] = {" ", "a", "b", "c", "\xc3\xa9", "\xe5\xa5\xb6",
                                        "z", "a", "b"};
    uint32_t seed = 7;
    for (int round = 0; round < 40; round++) {
        struct fixture f;
        grow_vocabulary(&pieces, &seed, round % 2 == 0);
        setup(&f, &pieces, round % 3 != 0);
        for (int i = 0; i < 30; i++) {
            char text[300] = "";
            size_t len = 0, symbols = next_random(&seed) % 90;
            for (size_t k = 0; k < symbols; k++)
                len += (size_t)snprintf(text + len, sizeof(text) - len, "%s",
                                        parts[next_random(&seed) % 9]);
            assert_as_defined(&f, &pieces, text, round % 3 != 0);
        }
        teardown(&f);
    }
}

static void wrong_scores_are_named(void **state)
{
    (void)state;
    struct toy_gguf toy = {0};
    struct fg_gguf *gguf = NULL;
    struct fg_tokenizer *tokenizer = NULL;
    struct fg_error error = {0};
    toy_header(&toy, 3, 0, 3);
    toy_key_string(&toy, "tokenizer.ggml.model", "llama");
    toy_key_array(&toy, "tokenizer.ggml.tokens", TOY_STRING, 2);
    toy_string(&toy, FG_SPAN("a"));
    toy_string(&toy, FG_SPAN("b"));
    toy_key_array(&toy, "tokenizer.ggml.scores", TOY_F32, 1);
    write_score(&toy, 0);
    assert_int_equal(fg_gguf_parse(&gguf, toy.data, toy.len, &error), FG_OK);
    assert_int_not_equal(fg_tokenizer_create(&tokenizer, gguf, &error), FG_OK);
    assert_non_null(strstr(error.message, "tokenizer.ggml.scores"));
    fg_gguf_close(gguf);
    toy_gguf_fini(&toy);
}

/* ---- SentencePiece's own answers ---- */

static void write_vocab(struct toy_gguf *toy, const json_t *golden)
{
    const json_t *pieces = json_object_get(golden, "pieces");
    const json_t *types = json_object_get(golden, "types");
    const json_t *scores = json_object_get(golden, "scores");
    size_t count = json_array_size(pieces);
    toy_header(toy, 3, 0, 7);
    toy_key_string(toy, "tokenizer.ggml.model", "llama");
    toy_key_bool(toy, "tokenizer.ggml.add_space_prefix", true);
    toy_key_u32(toy, "tokenizer.ggml.bos_token_id", 1);
    toy_key_u32(toy, "tokenizer.ggml.eos_token_id", 2);
    toy_key_array(toy, "tokenizer.ggml.tokens", TOY_STRING, count);
    for (size_t i = 0; i < count; i++)
        toy_string(toy, golden_text(json_array_get(pieces, i)));
    toy_key_array(toy, "tokenizer.ggml.token_type", TOY_I32, count);
    for (size_t i = 0; i < count; i++)
        toy_u32(toy, (uint32_t)json_integer_value(json_array_get(types, i)));
    toy_key_array(toy, "tokenizer.ggml.scores", TOY_F32, count);
    for (size_t i = 0; i < count; i++)
        write_score(toy, (float)json_number_value(json_array_get(scores, i)));
}

/* What tests/golden/sentencepiece.py wrote: SentencePiece's vocabulary, and its ids for it. */
static void sentencepiece_says_the_same(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct fg_error error = {0};
    json_error_t where;
    json_t *golden = json_load_file(FG_SOURCE_ROOT "/tests/golden/sentencepiece.golden.json",
                                    JSON_ALLOW_NUL, &where);
    if (golden == NULL)
        fail_msg("%s:%d: %s", where.source, where.line, where.text);
    write_vocab(&f.toy, golden);
    assert_int_equal(fg_gguf_parse(&f.gguf, f.toy.data, f.toy.len, &error), FG_OK);
    if (fg_tokenizer_create(&f.tokenizer, f.gguf, &error) != FG_OK)
        fail_msg("%s", error.message);
    size_t at;
    const json_t *one;
    json_array_foreach(json_object_get(golden, "cases"), at, one)
    {
        struct fg_token_list list = {.ids_max = 1000};
        struct fg_span text = golden_text(json_object_get(one, "text"));
        assert_int_equal(fg_tokenizer_encode(f.tokenizer, text, FG_SPECIAL_PLAIN, &list), FG_OK);
        assert_true(golden_ids_equal(&list, json_object_get(one, "ids"), text));
        fg_token_list_fini(&list);
    }
    assert_true(at >= 100);
    json_decref(golden);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_the_highest_score_first),
        cmocka_unit_test(special_tokens_cut_the_text),
        cmocka_unit_test(bytes_fall_back_and_come_back),
        cmocka_unit_test(any_vocabulary_and_text_as_defined),
        cmocka_unit_test(wrong_scores_are_named),
        cmocka_unit_test(sentencepiece_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
