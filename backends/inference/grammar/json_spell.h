/*
 * json_spell.h: a JSON value as text, its numbers as short as they can be.
 * Thread   any; nothing is kept between calls.
 */
#ifndef FG_INFERENCE_JSON_SPELL_H
#define FG_INFERENCE_JSON_SPELL_H

#include <jansson.h>

/* 0.1 as 0.1, U+001F as \u001f; read again the same value. The caller frees it; NULL: no memory. */
char *fg_json_spell(const json_t *value);

#endif
