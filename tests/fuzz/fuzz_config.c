/*
 * fuzz_config.c - settings from hostile bytes. The input is a TOML document, then (each behind a NUL) words: those that begin with
 * "VECTORD_" are environment, the rest flags.
 *
 * Beside "no crash": settings are either fine or explained, and what `config print` prints loads again and prints the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/config.h"

enum { INPUT_MAX = 8192, WORDS_MAX = 32 }; /* escapes grow six times in print, and a file may have 64 KiB */

static const char file_path[] = "/proc/self/fd/";

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

/* A file that lives in memory; *path is its name. */
static int file_of(const void *data, size_t size, char path[64]) {
    int fd = memfd_create("config", MFD_CLOEXEC);
    require(fd >= 0);
    require(size == 0 || write(fd, data, size) == (ssize_t)size);
    snprintf(path, 64, "%s%d", file_path, fd);
    return fd;
}

static vd_status load(config *c, const config_input *input) {
    buffer errors, warnings;
    buffer_init(&errors, 0);
    buffer_init(&warnings, 0);
    vd_status status = config_load(c, input, &errors, &warnings);
    require((status == VD_OK) == (errors.size == 0));
    buffer_fini(&warnings);
    buffer_fini(&errors);
    return status;
}

/* Loads `text`, which came from config_print, and prints it into *out. */
static void reload(const buffer *text, buffer *out) {
    char path[64];
    int fd = file_of(text->data, text->size, path);
    config c;
    require(load(&c, &(config_input){.file = path}) == VD_OK);
    buffer_init(out, 0);
    config_print(&c, out);
    config_fini(&c);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > INPUT_MAX) {
        return 0;
    }
    char *text = malloc(size + 1);
    require(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    size_t toml_size = strlen(text);

    const char *env[WORDS_MAX + 1] = {NULL}, *flags[WORDS_MAX];
    size_t env_count = 0, flag_count = 0;
    for (size_t at = toml_size + 1; at <= size && env_count < WORDS_MAX && flag_count < WORDS_MAX;
         at += strlen(text + at) + 1) {
        if (strncmp(text + at, "VECTORD_", 8) != 0) {
            flags[flag_count++] = text + at;
        } else if (!strstr(text + at, "_FILE=") && strncmp(text + at, "VECTORD_CONFIG=", 15) != 0) {
            env[env_count++] = text + at; /* variables that name files would read whatever the fuzzer finds */
        }
    }

    char path[64];
    int fd = file_of(text, toml_size, path);
    config c;
    if (load(&c, &(config_input){.file = path, .env = env, .flags = flags, .flag_count = flag_count}) == VD_OK) {
        buffer first, second, third;
        buffer_init(&first, 0);
        config_print(&c, &first);
        reload(&first, &second);
        reload(&second, &third);
        require(second.size == third.size);
        buffer_fini(&third);
        buffer_fini(&second);
        buffer_fini(&first);
    }
    config_fini(&c);
    close(fd);
    free(text);
    return 0;
}
