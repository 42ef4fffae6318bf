/*
 * convert.c - storing every vector in another form while searches go on: a new form is filled from the old one, then shown in its
 * place, and the old one is retired. Links stay as they are: they belong to the nodes, not to how their vectors are kept.
 *
 * Threading: the writer's; filling on the executor. A search that began before goes on with the old form; one that meets the change
 * looks again (search.c).
 */
#include <string.h>

#include "hnsw/hnsw_int.h"

#define CHUNK 256u

typedef struct conversion {
    vd_hnsw *h;
    const form *from;
    form *to;
    uint32_t slots;
    _Atomic uint32_t next;
} conversion;

static void convert_task(void *arg, uint32_t index) {
    conversion *c = arg;
    scratch *s = index == 0 ? c->h->writer_scratch : scratch_take(c->h, 1);
    if (!s) {
        return; /* task 0 does it all */
    }
    for (;;) {
        uint32_t first = atomic_fetch_add_explicit(&c->next, CHUNK, memory_order_relaxed);
        if (first >= c->slots) {
            break;
        }
        for (uint32_t slot = first; slot < c->slots && slot < first + CHUNK; slot++) {
            if (slot_state(c->h, slot) != STATE_FREE) {
                form_read(c->h, c->from, slot, s->query_vector);
                form_write(c->h, c->to, slot, s->query_vector);
            }
        }
    }
    if (index != 0) {
        scratch_give(c->h, s);
    }
}

vd_status convert_locked(vd_hnsw *h, vd_encoding encoding, const vd_executor *executor, vd_error *err) {
    form *old = form_of(h);
    if (old->encoding == encoding) {
        return VD_OK;
    }
    form *fresh = retire_reserve(h, 1) == VD_OK && scratch_reserve_writer(h, 1) == VD_OK
                      ? form_new(h, encoding, h->slots_ready)
                      : NULL;
    if (!fresh) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    conversion c = {.h = h, .from = old, .to = fresh, .slots = atomic_load_explicit(&h->slots, memory_order_relaxed)};
    executor_run(executor, convert_task, &c, c.slots > 4 * CHUNK ? executor_width(executor) : 1);
    atomic_store_explicit(&h->form, fresh, memory_order_release);
    retire(h, RETIRED_FORM, (uintptr_t)old, 0);
    memset(h->returned, 0, c.slots / RETURN_SLOTS + 1); /* nothing of the new form has been given back */
    h->returned_slots = 0;
    return VD_OK;
}

void convert_undo(vd_hnsw *h, form *before) {
    size_t at = h->retired_count;
    while (h->retired[at - 1].kind != RETIRED_FORM || h->retired[at - 1].value != (uintptr_t)before) {
        at--; /* it is there: nothing has been reclaimed since */
    }
    form *now = form_of(h);
    atomic_store_explicit(&h->form, before, memory_order_release);
    h->retired[at - 1].value = (uintptr_t)now;
    h->retired[at - 1].epoch = atomic_load(&h->epoch);
}

vd_status vd_hnsw_convert(vd_hnsw *h, vd_encoding encoding, const vd_executor *executor, vd_error *err) {
    if (!vd_encoding_name(encoding)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "encoding", "encoding must be one of auto, f32, sq8, sq4, f16, bf16");
    }
    if (h->options.discard_vectors) {
        return vd_fail(err, VD_FAILED_PRECONDITION, "encoding",
                       "vectors were discarded: an index of codes cannot be converted; build it anew");
    }
    pthread_mutex_lock(&h->writer);
    vd_encoding before = encoding_asked(h);
    atomic_store_explicit(&h->encoding, encoding, memory_order_relaxed);
    vd_status status = VD_OK;
    if (encoding == VD_ENCODING_AUTO) {
        if (vd_hnsw_count(h) >= ENCODING_CHECK_ITEMS) {
            status = encoding_check(h, executor);
        }
    } else {
        /* codes are stored in one way, whether half of their bits are walked on or all */
        status = convert_locked(h, encoding == VD_ENCODING_SQ4 ? VD_ENCODING_SQ8 : encoding, executor, err);
        if (status == VD_OK) {
            atomic_store_explicit(&h->walk_high, encoding == VD_ENCODING_SQ4, memory_order_release);
            atomic_store_explicit(&h->recalibrate, true, memory_order_release);
        }
    }
    if (status != VD_OK) {
        atomic_store_explicit(&h->encoding, before, memory_order_relaxed);
        vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    reclaim(h, false);
    pthread_mutex_unlock(&h->writer);
    return status;
}

static const char *const names[] = {
    [VD_ENCODING_AUTO] = "auto", [VD_ENCODING_F32] = "f32", [VD_ENCODING_SQ8] = "sq8",
    [VD_ENCODING_SQ4] = "sq4",   [VD_ENCODING_F16] = "f16", [VD_ENCODING_BF16] = "bf16"};

const char *vd_encoding_name(vd_encoding encoding) {
    return (size_t)encoding < sizeof names / sizeof names[0] ? names[encoding] : NULL;
}

bool vd_encoding_parse(const char *name, vd_encoding *out) {
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (vd_encoding)i;
            return true;
        }
    }
    return false;
}
