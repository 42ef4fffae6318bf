/*
 * folder_objects_list.c - one page of keys. The folder is read anew for each page: nothing is kept in memory that could differ from it. A
 * page costs one pass over all names and one small read per object on it, about 0.1 s for 10,000 of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "storaged/folder_objects_int.h"
#include "store/folder.h"

typedef struct page {
    const folder_objects *store;
    bytes prefix, after;
    char **keys;
    size_t count;
} page;

static bool wanted(const page *p, bytes key) {
    return key.size >= p->prefix.size &&
           (p->prefix.size == 0 || memcmp(key.data, p->prefix.data, p->prefix.size) == 0) &&
           bytes_compare(key, p->after) > 0;
}

/* The key in a file whose name is a hash of it; false when there is none to be had. */
static bool long_key(const folder_objects *s, const char *name, char out[VD_OBJECT_KEY_MAX_BYTES + 1]) {
    char path[PATH_MAX];
    uint8_t space[OBJECT_TAIL_MAX];
    object_info info;
    bytes key;
    vd_error err = {0};
    int fd;
    if (folder_join(path, NULL, s->folder, name) != VD_OK || s->io->open(s->io->context, path, O_RDONLY, 0, &fd) != 0) {
        return false; /* removed since the folder was read */
    }
    vd_status status = folder_objects_tail(s, fd, &info, space, &key, name, &err);
    (void)s->io->close(s->io->context, fd);
    char right[OBJECT_NAME_MAX + 1];
    if (status != VD_OK || !object_name(key, right) || strcmp(right, name) != 0) {
        log_event(LOG_WARN, "an object whose key cannot be read is not listed", "file=%s error=%s", name, err.text);
        return false;
    }
    memcpy(out, key.data, key.size);
    out[key.size] = '\0';
    return true;
}

static vd_status take_names(page *p, const folder_names *files, vd_error *err) {
    p->keys = calloc(files->count ? files->count : 1, sizeof *p->keys);
    bool room = p->keys != NULL;
    for (size_t i = 0; room && i < files->count; i++) {
        char key[VD_OBJECT_KEY_MAX_BYTES + 1];
        const char *name = files->names[i];
        bool ours = object_name_is_long(name) ? long_key(p->store, name, key) : object_name_key(name, key, sizeof key);
        if (ours && wanted(p, bytes_str(key))) {
            p->keys[p->count] = strdup(key);
            room = p->keys[p->count] != NULL;
            p->count += room;
        }
    }
    return room ? VD_OK : vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory for the listing");
}

/* Bytes, not characters: what strcmp compares is unsigned. */
static int by_key(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static vd_status show(const page *p, const char *key, objects_visit visit, void *arg, vd_error *err) {
    char path[PATH_MAX];
    int fd = -1;
    object_info info;
    vd_status status = folder_objects_path(p->store, bytes_str(key), path, err);
    if (status == VD_OK) {
        status = folder_objects_look(p->store, path, bytes_str(key), &fd, &info, err);
    }
    if (fd >= 0) {
        (void)p->store->io->close(p->store->io->context, fd);
    }
    if (status == VD_NOT_FOUND) {
        return VD_OK; /* removed since the folder was read */
    }
    /* what is damaged is there: hiding it would let somebody take its name */
    return status == VD_OK || status == VD_DATA_LOSS ? visit(arg, key, &info) : status;
}

vd_status folder_objects_list(objects *face, bytes prefix, bytes after, size_t limit, objects_visit visit, void *arg,
                              bool *more, vd_error *err) {
    page p = {.store = (const folder_objects *)face, .prefix = prefix, .after = after};
    folder_names files;
    int error = folder_list(p.store->io, p.store->folder, false, &files);
    if (!error &&
        files.count == 0) { /* a folder that is gone looks empty, and that would be a lie about every object */
        error = folder_sync(p.store->io, p.store->folder);
    }
    vd_status status = error ? folder_fail(err, error, "list", p.store->folder) : take_names(&p, &files, err);
    folder_names_fini(&files);
    if (status == VD_NOT_FOUND) {
        status = VD_INTERNAL;
    }
    if (status == VD_OK && p.count) {
        qsort(p.keys, p.count, sizeof *p.keys, by_key);
    }
    *more = p.count > limit;
    for (size_t i = 0; status == VD_OK && i < p.count && i < limit; i++) {
        status = show(&p, p.keys[i], visit, arg, err);
    }
    for (size_t i = 0; i < p.count; i++) {
        free(p.keys[i]);
    }
    free(p.keys);
    return status;
}
