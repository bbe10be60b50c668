/*
 * hpack_settings.h: what the other side's SETTINGS say of the table of our heads.
 * Thread   the session's loop.
 */
#ifndef FG_HPACK_SETTINGS_H
#define FG_HPACK_SETTINGS_H

#include "backends/hpack.h"

#include <nghttp2/nghttp2.h>

/* All of them in order: a table that is made smaller in between is emptied (RFC 7541, 4.2). */
static inline void fg_hpack_take_settings(struct fg_hpack *hpack, const nghttp2_settings *settings)
{
    for (size_t i = 0; i < settings->niv; i++) {
        if (settings->iv[i].settings_id == NGHTTP2_SETTINGS_HEADER_TABLE_SIZE)
            fg_hpack_resize(hpack, settings->iv[i].value);
    }
}

#endif
