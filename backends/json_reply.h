/*
 * json_reply.h: a whole JSON document as the answer of an exchange.
 * Thread   the exchange's loop.
 */
#ifndef FG_JSON_REPLY_H
#define FG_JSON_REPLY_H

#include "backends/backend.h"

/*
 * Answer with `status`, content-type application/json and `cache_control` ("no-store" when NULL)
 * and, unless NULL, the field `extra`; end the exchange. Takes the reference to `body`.
 */
void fg_json_reply(struct fg_exchange *ex, unsigned status, json_t *body,
                   const struct fg_field *extra, const char *cache_control);

#endif
