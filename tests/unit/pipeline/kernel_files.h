/*
 * kernel_files.h: a folder of plain files that stand for the kernel's, for the time of a test.
 */
#ifndef FG_TESTS_KERNEL_FILES_H
#define FG_TESTS_KERNEL_FILES_H

#include <stddef.h>

/* Setup and teardown of a test; -1 fails it. */
int fg_kernel_files_make(void **state);
int fg_kernel_files_remove(void **state);

/* The folder, valid between the two. */
const char *fg_kernel_files_root(void);

/* A folder, and a file with this text, below it; the test fails where that cannot be. */
void fg_kernel_files_folder(const char *path);
void fg_kernel_files_write(const char *path, const char *text);

#endif
