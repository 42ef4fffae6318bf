/*
 * registry_metrics.c - what the registry shows: a gauge per index and quantity, set when somebody looks.
 *
 * Threading: `print_lock` guards the list of indexes shown last time, from which the series of deleted ones are dropped. It may
 * be held with the metrics registry's own lock taken inside, never the other way round.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/registry_int.h"

#define LABEL_MAX (2 * VD_INDEX_NAME_MAX_BYTES + sizeof "index=\"\"")

typedef struct gauge {
    const char *name, *help;
} gauge;
enum { GAUGE_ITEMS, GAUGE_MEMORY, GAUGE_JOURNAL, GAUGE_EF, GAUGE_RECALL, GAUGE_STATE, GAUGE_BACKLOG, GAUGES };
static const gauge gauges[GAUGES] = {
    {"vectord_index_items", "Live items of an index."},
    {"vectord_index_memory_bytes", "Memory that an index holds."},
    {"vectord_index_journal_bytes", "Journal that has not gone into a saved frame."},
    {"vectord_index_ef", "Effective ef of a search that names none."},
    {"vectord_index_calibrated_recall", "Recall@10 measured at the last calibration, leave-one-out."},
    {"vectord_index_state", "0 loading, 1 ready, 2 quarantined."},
    {"vectord_index_backlog_bytes", "Acknowledged writes that are in memory only and wait for the store."},
};

static void labels_of(const char *name, char out[LABEL_MAX]) {
    char escaped[2 * VD_INDEX_NAME_MAX_BYTES + 1];
    metrics_label(name, strlen(name), escaped, sizeof escaped);
    snprintf(out, LABEL_MAX, "index=\"%s\"", escaped);
}

static void show(metrics *m, vd_index *index) {
    index_info info;
    index_get_info(index, &info);
    const double values[GAUGES] = {
        [GAUGE_ITEMS] = (double)info.length,           [GAUGE_MEMORY] = (double)info.stats.memory_bytes,
        [GAUGE_JOURNAL] = (double)info.journal_bytes,  [GAUGE_EF] = info.stats.ef_effective,
        [GAUGE_RECALL] = info.stats.calibrated_recall, [GAUGE_STATE] = (double)info.state,
        [GAUGE_BACKLOG] = (double)info.backlog_bytes,
    };
    char labels[LABEL_MAX];
    labels_of(index->name, labels);
    for (int g = 0; g < GAUGES; g++) {
        metric_set(metrics_gauge(m, gauges[g].name, gauges[g].help, labels), values[g]);
    }
}

static void drop_gone(registry *r, metrics *m, vd_index *const *all, size_t count) {
    for (size_t i = 0, at = 0; i < r->printed_count; i++) { /* both lists are sorted by bytes */
        while (at < count && strcmp(all[at]->name, r->printed[i]) < 0) {
            at++;
        }
        if (at == count || strcmp(all[at]->name, r->printed[i]) != 0) {
            char labels[LABEL_MAX];
            labels_of(r->printed[i], labels);
            for (int g = 0; g < GAUGES; g++) {
                metrics_remove(m, gauges[g].name, labels);
            }
        }
    }
}

static void before_print(void *arg, metrics *m) {
    registry *r = arg;
    pthread_mutex_lock(&r->print_lock);
    size_t count;
    vd_index **all = registry_acquire_all(r, &count);
    drop_gone(r, m, all, count);
    char(*printed)[VD_INDEX_NAME_MAX_BYTES + 1] = realloc(r->printed, (count ? count : 1) * sizeof *printed);
    if (printed) {
        r->printed = printed;
    }
    r->printed_count = printed ? count : 0;
    for (size_t i = 0; i < count; i++) {
        if (printed) {
            memcpy(printed[i], all[i]->name, sizeof printed[i]);
        }
        show(m, all[i]);
        index_release(all[i]);
    }
    free(all);
    pthread_mutex_unlock(&r->print_lock);
}

void registry_register_metrics(registry *r, metrics *m) {
    r->saves = metrics_counter(m, "vectord_saves_total", "Frames saved.", "");
    r->save_failures = metrics_counter(m, "vectord_save_failures_total", "Frames that could not be saved.", "");
    r->journal_syncs = metrics_counter(m, "vectord_journal_syncs_total", "Groups of writes made durable.", "");
    r->journal_failures =
        metrics_counter(m, "vectord_journal_failures_total", "Groups of writes that the store refused.", "");
    metrics_on_print(m, before_print, r);
}
