/*
 * reference.h: the reference page of the configuration, out of the parser's own tables.
 * Thread   any; writes to the stream alone.
 */
#ifndef FG_CONFIG_REFERENCE_H
#define FG_CONFIG_REFERENCE_H

#include <stdio.h>

/* Markdown: docs/configuration.md. Write errors stay in the stream's own flag. */
void fg_config_write_reference(FILE *out);

#endif
