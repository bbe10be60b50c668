/*
 * json_values.h: how much work a JSON text is, before anybody reads it: each of its values is an
 * allocation, and 16 KiB of `[1,1,...]` are 8,000 of them, some 2 ms, where 16 KiB of one string
 * are 10 us.
 * Thread   any; reads the text once and keeps nothing.
 */
#ifndef FG_BASE_JSON_VALUES_H
#define FG_BASE_JSON_VALUES_H

#include "base/span.h"

/*
 * The most values that a parser can make of the text: commas and opening brackets outside of its
 * strings, and one. Exact or too many where the text is JSON; where it is not, no parser gets
 * further than the count.
 */
size_t fg_json_values_most(struct fg_span text);

#endif
