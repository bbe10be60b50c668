/*
 * fuzz_replay.c: run a fuzz target over files and folders of inputs, where libFuzzer is not linked
 * in. fuzz_x PATH ...      exit 0 when every input was survived
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return -1;
    struct stat info;
    size_t size = fstat(fileno(file), &info) == 0 ? (size_t)info.st_size : 0;
    /* Exactly as large as the input, so that the sanitiser sees a read past its end. */
    uint8_t *data = malloc(size > 0 ? size : 1);
    size_t got = data == NULL ? 0 : fread(data, 1, size, file);
    fclose(file);
    if (data == NULL)
        return -1;
    LLVMFuzzerTestOneInput(data, got);
    free(data);
    return 1;
}

static int run_path(const char *path)
{
    struct stat info;
    if (stat(path, &info) == -1)
        return 0; /* a target without a regression folder */
    if (!S_ISDIR(info.st_mode))
        return run_file(path);
    DIR *folder = opendir(path);
    int count = 0;
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        char inner[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name);
        int one = run_path(inner);
        if (one > 0)
            count += one;
    }
    if (folder != NULL)
        closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    int count = 0;
    for (int i = 1; i < argc; i++)
        count += run_path(argv[i]);
    printf("%d inputs\n", count);
    return count > 0 ? 0 : 1;
}
