/*
 * endpoint_page.h: POST /clusters/endpoints: add, remove, disable and enable endpoints at run time.
 *    ?cluster=NAME & one of add= remove= disable= enable= ADDRESS [& weight= & priority=]
 * The board of all changes is the truth; clusters are made to obey it, here and in every other
 * gateway that shares it.
 * Thread   the admin loop's, or before it runs.
 */
#ifndef FG_ADMIN_ENDPOINT_PAGE_H
#define FG_ADMIN_ENDPOINT_PAGE_H

#include "admin/admin.h"

/* Does what the query says; returns the status, and *text, a constant, for the answer. */
unsigned fg_admin_change_endpoint(const struct fg_admin_options *options,
                                  const struct fg_exchange *ex, const char **text);

/*
 * What another gateway has written on the board since *version, which is set. At first, with 0,
 * what the configuration does not allow (any more) or says itself is taken from the board.
 */
void fg_admin_follow_changes(const struct fg_admin_options *options, uint64_t *version);

/* For /stats. NULL without memory. */
json_t *fg_admin_changes_json(const struct fg_admin_options *options);

#endif
