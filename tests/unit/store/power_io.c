/* power_io.c - see power_io.h. Single-threaded: a test drives it from one thread. */
#include "unit/store/power_io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define NODES_MAX 512
#define NAMES_MAX 512
#define OPEN_MAX_ 64
#define NONE      (-1)

typedef struct node {
    bool folder;
    buffer now, durable;
} node;

typedef struct name {
    char path[256];
    int now, durable; /* node or NONE */
} name;

struct power_io {
    io_table table;
    node nodes[NODES_MAX];
    int node_count;
    name names[NAMES_MAX];
    int name_count;
    int open[OPEN_MAX_]; /* name of each descriptor, NONE when free */
    int open_node[OPEN_MAX_];
    int calls, fail_from;
    uint32_t dice;
};

static int next_call(power_io *p) {
    p->calls++;
    return p->fail_from && p->calls >= p->fail_from ? EIO : 0;
}

static uint32_t throw_dice(power_io *p) {
    p->dice = p->dice * 1664525u + 1013904223u;
    return p->dice >> 16;
}

static void copy(buffer *to, const buffer *from, size_t size) {
    buffer_clear(to);
    buffer_put(to, from->data, size);
}

/* The entry of a path, made when it is not there. */
static name *name_of(power_io *p, const char *path) {
    for (int i = 0; i < p->name_count; i++) {
        if (strcmp(p->names[i].path, path) == 0) {
            return &p->names[i];
        }
    }
    if (p->name_count == NAMES_MAX || strlen(path) >= sizeof p->names[0].path) {
        abort();
    }
    name *n = &p->names[p->name_count++];
    strcpy(n->path, path);
    n->now = n->durable = NONE;
    return n;
}

static int new_node(power_io *p, bool folder) {
    if (p->node_count == NODES_MAX) {
        abort();
    }
    p->nodes[p->node_count].folder = folder;
    return p->node_count++;
}

static bool parent_exists(power_io *p, const char *path) {
    char parent[256];
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) {
        return true;
    }
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    const name *n = name_of(p, parent);
    return n->now != NONE && p->nodes[n->now].folder;
}

/* Whether `path` stands directly in `folder`. */
static bool stands_in(const char *path, const char *folder) {
    size_t size = strcmp(folder, "/") == 0 ? 0 : strlen(folder);
    return strncmp(path, folder, size) == 0 && path[size] == '/' && !strchr(path + size + 1, '/');
}

static int power_open(void *context, const char *path, int flags, mode_t mode, int *fd) {
    power_io *p = context;
    (void)mode;
    int error = next_call(p);
    if (error) {
        return error;
    }
    name *n = name_of(p, path);
    if (n->now != NONE && (flags & O_EXCL)) {
        return EEXIST;
    }
    if (n->now == NONE) {
        if (!(flags & O_CREAT) || !parent_exists(p, path)) {
            return ENOENT;
        }
        n->now = new_node(p, false);
    }
    for (int i = 0; i < OPEN_MAX_; i++) {
        if (p->open[i] == NONE) {
            p->open[i] = (int)(n - p->names);
            p->open_node[i] = n->now;
            *fd = i;
            return 0;
        }
    }
    return EMFILE;
}

static int power_close(void *context, int fd) {
    power_io *p = context;
    p->open[fd] = NONE;
    return next_call(p);
}

static int power_read(void *context, int fd, void *data, size_t size, uint64_t offset, size_t *done) {
    power_io *p = context;
    const buffer *b = &p->nodes[p->open_node[fd]].now;
    int error = next_call(p);
    if (error) {
        return error;
    }
    size_t left = offset < b->size ? b->size - (size_t)offset : 0;
    *done = size < left ? size : left;
    if (*done) {
        memcpy(data, b->data + offset, *done);
    }
    return 0;
}

static int power_write(void *context, int fd, const void *data, size_t size, uint64_t offset, size_t *done) {
    power_io *p = context;
    buffer *b = &p->nodes[p->open_node[fd]].now;
    int error = next_call(p);
    if (error) {
        return error;
    }
    while (b->size < offset + size) {
        buffer_put_u8(b, 0);
    }
    memcpy(b->data + offset, data, size);
    *done = size;
    return 0;
}

static int power_sync(void *context, int fd) {
    power_io *p = context;
    int error = next_call(p);
    if (error) {
        return error;
    }
    node *n = &p->nodes[p->open_node[fd]];
    copy(&n->durable, &n->now, n->now.size);
    for (int i = 0; n->folder && i < p->name_count; i++) {
        if (stands_in(p->names[i].path, p->names[p->open[fd]].path)) {
            p->names[i].durable = p->names[i].now;
        }
    }
    return 0;
}

static int power_truncate(void *context, int fd, uint64_t size) {
    power_io *p = context;
    buffer *b = &p->nodes[p->open_node[fd]].now;
    int error = next_call(p);
    if (!error && size < b->size) {
        b->size = (size_t)size;
    }
    return error;
}

static int power_size(void *context, int fd, uint64_t *size) {
    power_io *p = context;
    int error = next_call(p);
    if (!error) {
        *size = p->nodes[p->open_node[fd]].now.size;
    }
    return error;
}

static int power_rename(void *context, const char *from, const char *to) {
    power_io *p = context;
    int error = next_call(p);
    if (error) {
        return error;
    }
    name *source = name_of(p, from), *target = name_of(p, to);
    if (source->now == NONE) {
        return ENOENT;
    }
    target->now = source->now;
    source->now = NONE;
    return 0;
}

static int power_link(void *context, const char *from, const char *to) {
    power_io *p = context;
    int error = next_call(p);
    if (error) {
        return error;
    }
    const name *source = name_of(p, from);
    name *target = name_of(p, to);
    if (source->now == NONE || target->now != NONE) {
        return source->now == NONE ? ENOENT : EEXIST;
    }
    target->now = source->now;
    return 0;
}

static int power_unlink(void *context, const char *path) {
    power_io *p = context;
    int error = next_call(p);
    if (error) {
        return error;
    }
    name *n = name_of(p, path);
    if (n->now == NONE) {
        return ENOENT;
    }
    n->now = NONE;
    return 0;
}

static int power_mkdir(void *context, const char *path, mode_t mode) {
    power_io *p = context;
    (void)mode;
    int error = next_call(p);
    if (error) {
        return error;
    }
    name *n = name_of(p, path);
    if (n->now != NONE) {
        return EEXIST;
    }
    if (!parent_exists(p, path)) {
        return ENOENT;
    }
    n->now = new_node(p, true);
    return 0;
}

static int power_rmdir(void *context, const char *path) {
    power_io *p = context;
    int error = next_call(p);
    if (error) {
        return error;
    }
    name *n = name_of(p, path);
    if (n->now == NONE) {
        return ENOENT;
    }
    for (int i = 0; i < p->name_count; i++) {
        if (p->names[i].now != NONE && stands_in(p->names[i].path, path)) {
            return ENOTEMPTY;
        }
    }
    n->now = NONE;
    return 0;
}

static int power_list(void *context, const char *path, int (*visit)(void *arg, const char *name, int is_directory),
                      void *arg) {
    power_io *p = context;
    int error = next_call(p);
    if (error) {
        return error;
    }
    if (name_of(p, path)->now == NONE) {
        return ENOENT;
    }
    for (int i = 0; i < p->name_count; i++) {
        const name *n = &p->names[i];
        if (n->now != NONE && stands_in(n->path, path) &&
            visit(arg, strrchr(n->path, '/') + 1, p->nodes[n->now].folder) != 0) {
            break;
        }
    }
    return 0;
}

static int power_lock(void *context, int fd) {
    (void)fd;
    return next_call(context);
}

power_io *power_io_new(void) {
    power_io *p = calloc(1, sizeof *p);
    if (!p) {
        abort();
    }
    for (int i = 0; i < OPEN_MAX_; i++) {
        p->open[i] = NONE;
    }
    p->table = (io_table){
        .context = p,
        .open = power_open,
        .close = power_close,
        .read = power_read,
        .write = power_write,
        .sync = power_sync,
        .data_sync = power_sync,
        .truncate = power_truncate,
        .size = power_size,
        .rename = power_rename,
        .link = power_link,
        .unlink = power_unlink,
        .mkdir = power_mkdir,
        .rmdir = power_rmdir,
        .list = power_list,
        .lock = power_lock,
    };
    name *root = name_of(p, "/");
    root->now = root->durable = new_node(p, true);
    return p;
}

void power_io_free(power_io *p) {
    for (int i = 0; i < p->node_count; i++) {
        buffer_fini(&p->nodes[i].now);
        buffer_fini(&p->nodes[i].durable);
    }
    free(p);
}

const io_table *power_io_table(power_io *p) {
    return &p->table;
}

void power_io_fail_from(power_io *p, int at) {
    p->calls = 0;
    p->fail_from = at;
}

int power_io_calls(const power_io *p) {
    return p->calls;
}

/* The contents after the cut: durable, all of it, or some of what was added, perhaps as zeros. */
static void settle(power_io *p, node *n) {
    uint32_t kind = throw_dice(p) % 4;
    if (kind == 0) {
        copy(&n->now, &n->durable, n->durable.size);
    } else if (kind != 1 && n->now.size > n->durable.size) {
        n->now.size = n->durable.size + throw_dice(p) % (n->now.size - n->durable.size + 1);
        if (kind == 3) {
            memset(n->now.data + n->durable.size, 0, n->now.size - n->durable.size);
        }
    }
    copy(&n->durable, &n->now, n->now.size);
}

void power_io_cut(power_io *p, uint32_t dice) {
    p->dice = dice;
    for (int i = 0; i < p->node_count; i++) {
        settle(p, &p->nodes[i]);
    }
    for (int i = 0; i < p->name_count; i++) {
        name *n = &p->names[i];
        n->now = throw_dice(p) % 2 ? n->now : n->durable;
    }
    for (int again = 1; again;) { /* what stands in a folder that is not there is not there either */
        again = 0;
        for (int i = 0; i < p->name_count; i++) {
            if (p->names[i].now != NONE && !parent_exists(p, p->names[i].path)) {
                p->names[i].now = NONE;
                again = 1;
            }
        }
    }
    for (int i = 0; i < p->name_count; i++) {
        p->names[i].durable = p->names[i].now;
    }
    for (int i = 0; i < OPEN_MAX_; i++) {
        p->open[i] = NONE;
    }
    p->fail_from = 0;
}
