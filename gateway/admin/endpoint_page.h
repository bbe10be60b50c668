/*
 * endpoint_page.h: POST /clusters/endpoints: add, remove, disable and enable endpoints at run time.
 *    ?cluster=NAME & one of add= remove= disable= enable= ADDRESS [& weight= & priority=]
 * Thread   the admin loop's.
 */
#ifndef FG_ADMIN_ENDPOINT_PAGE_H
#define FG_ADMIN_ENDPOINT_PAGE_H

#include "admin/admin.h"

/* Does what the query says; returns the status, and *text, a constant, for the answer. */
unsigned fg_admin_change_endpoint(const struct fg_admin_options *options,
                                  const struct fg_exchange *ex, const char **text);

#endif
