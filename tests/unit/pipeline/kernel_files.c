/*
 * kernel_files.c: see kernel_files.h. One thread, one folder at a time.
 */
#include "kernel_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static char root[] = "/tmp/fg-kernel-XXXXXX";

int fg_kernel_files_make(void **state)
{
    (void)state;
    memcpy(root + sizeof(root) - 7, "XXXXXX", 6); /* mkdtemp filled them in */
    return mkdtemp(root) == NULL ? -1 : 0;
}

int fg_kernel_files_remove(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", root);
    return system(command); /* NOLINT: a path of our own */
}

const char *fg_kernel_files_root(void)
{
    return root;
}

void fg_kernel_files_folder(const char *path)
{
    char whole[256];
    snprintf(whole, sizeof(whole), "%s/%s", root, path);
    assert_int_equal(mkdir(whole, 0700), 0);
}

void fg_kernel_files_write(const char *path, const char *text)
{
    char whole[256];
    snprintf(whole, sizeof(whole), "%s/%s", root, path);
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}
