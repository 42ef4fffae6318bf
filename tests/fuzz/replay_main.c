/*
 * replay_main.c - runs a fuzz target on files instead of fuzzing: every argument is a file or a folder of files (a missing
 * folder is empty). Each input stands in a block of exactly its size, so that a sanitizer sees a read past its end.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static int replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    long size = -1;
    uint8_t *data = NULL;
    if (fseek(file, 0, SEEK_END) == 0) {
        size = ftell(file);
    }
    rewind(file);
    if (size >= 0) {
        data = malloc(size ? (size_t)size : 1);
    }
    int failed = !data || fread(data, 1, (size_t)size, file) != (size_t)size;
    fclose(file);
    if (failed) {
        fprintf(stderr, "%s: cannot be read\n", path);
    } else {
        (void)LLVMFuzzerTestOneInput(data, (size_t)size);
    }
    free(data);
    return failed;
}

static int replay_folder(const char *path, unsigned *count) {
    DIR *folder = opendir(path);
    if (!folder) {
        perror(path);
        return 1;
    }
    int failed = 0;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        char file[PATH_MAX];
        int size = snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || size < 0 || (size_t)size >= sizeof file) {
            continue;
        }
        failed |= replay_file(file);
        ++*count;
    }
    closedir(folder);
    return failed;
}

int main(int argc, char **argv) {
    unsigned count = 0;
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        struct stat info;
        if (stat(argv[i], &info) != 0) {
            if (errno != ENOENT) {
                perror(argv[i]);
                failed = 1;
            }
        } else if (S_ISDIR(info.st_mode)) {
            failed |= replay_folder(argv[i], &count);
        } else {
            failed |= replay_file(argv[i]);
            count++;
        }
    }
    printf("%u inputs\n", count);
    return failed;
}
