/*
 * cache_compress.h: other codings of a stored body, made once, off the loops.
 */
#ifndef FG_PIPELINE_CACHE_COMPRESS_H
#define FG_PIPELINE_CACHE_COMPRESS_H

#include "pipeline/cache_store_shared.h"

/* Bits 1 << enum fg_coding that this build can make. */
unsigned fg_cache_codings(void);

/*
 * Have `coding` of `body` made by a helper, unless somebody has already asked for it. It is kept
 * only while all variants together are no larger than the body. `reply_to` is the caller's loop's
 * mailbox. Any loop; never blocks.
 */
void fg_cache_compress(struct fg_cache_store *store, struct fg_helper_pool *helper,
                       struct fg_mailbox *reply_to, struct fg_cache_body *body,
                       enum fg_coding coding);

#endif
