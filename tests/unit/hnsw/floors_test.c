/*
 * floors_test.c - recall@10 on every kind of data that engines have had trouble with, at pools of 32 to 256 and at the default target,
 * never below what this engine once reached: the floors stand in a table. And every item is found by its own vector.
 *
 *   floors_test auto | f32 | sq8 | sq4     one encoding; VECTORD_TEST_PRINT=1 prints the rows of its table as they would be now
 *
 * Codes that somebody chose where they do not rank (auto would not have) have floors as low as they must be: what is promised then
 * is an index that works, not recall.
 */
#include <inttypes.h>
#include <math.h>

#include "data_help.h"

enum { COLUMNS = 5 };
static const uint32_t efs[COLUMNS] = {32, 64, 128, 256, 0}; /* 0: the default target, calibrated */

typedef struct row {
    data_kind kind;
    vd_metric metric;
    double floors[COLUMNS];
} row;

#include "floors_table.h"

static const struct {
    const char *name;
    vd_encoding encoding;
    const row *rows;
} tables[] = {
    {"auto", VD_ENCODING_AUTO, rows_auto},
    {"f32", VD_ENCODING_F32, rows_f32},
    {"sq8", VD_ENCODING_SQ8, rows_sq8},
    {"sq4", VD_ENCODING_SQ4, rows_sq4},
};
enum { TABLES = sizeof tables / sizeof tables[0] };

static uint32_t table; /* the one that is tested */

static vd_hnsw *index_of(const data *d, vd_encoding encoding) {
    vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = d->dimension, .metric = d->metric, .encoding = encoding});
    data_add(d, index, 0, d->count, executor_pool_get(help_pool));
    return index;
}

/* ---- every item by its own vector ---- */

/* Bit for bit its hash leads to it. Moved by the last bit of one component only the graph can: then whatever comes first must be no
 * further than it is. */
static void every_item_finds_itself(const data *d, const vd_hnsw *index) {
    static const struct {
        uint32_t ef;
        double own, moved;
    } least[] = {{10, 0.999, 0.0}, {200, 1.0, 0.975}};
    for (size_t e = 0; e < 2; e++) {
        uint32_t own = 0, moved = 0, step = e ? help_amount(4, 11) : help_amount(1, 7), tried = 0, moves = 0;
        for (uint32_t i = 0; i < d->count; i += step, tried++) {
            const float *v = d->base + (size_t)i * d->dimension;
            float near[512];
            vd_hit hits[DATA_K];
            size_t count = 0;
            vd_hnsw_guard guard;
            vd_hnsw_search_options o = {.k = DATA_K, .ef = least[e].ef};
            vd_hnsw_enter(index, &guard);
            OK(vd_hnsw_search(index, v, &o, hits, &count, NULL, err));
            bool found = hits[count - 1].distance == 0.0; /* more copies than hits */
            for (size_t j = 0; j < count && !found; j++) {
                found = data_number(hits[j].id) == i && hits[j].distance == 0.0;
            }
            own += found;
            if (i % 4 == 0) {
                memcpy(near, v, sizeof *near * d->dimension);
                near[i % d->dimension] = nextafterf(near[i % d->dimension], 1e30f);
                OK(vd_hnsw_search(index, near, &o, hits, &count, NULL, err));
                moved += hits[0].distance <= oracle_distance(d->metric, near, v, d->dimension);
                moves++;
            }
            vd_hnsw_leave(index, &guard);
        }
        if (getenv("VECTORD_TEST_PRINT")) {
            print_message("    %s, ef %u: found by itself %.4f, by its like %.4f\n", d->name, least[e].ef,
                          (double)own / tried, (double)moved / moves);
        }
        if (own < least[e].own * tried) {
            fail_msg("%s: %u of %u items are found by their own vector at ef %u", d->name, own, tried, least[e].ef);
        }
        if (tables[table].encoding == VD_ENCODING_AUTO && moved < least[e].moved * moves) {
            fail_msg("%s: %u of %u items are found by nearly their vector at ef %u", d->name, moved, tried,
                     least[e].ef);
        }
    }
}

/* ---- floors ---- */

static void measure(const data *d, vd_hnsw *index, double *recall) {
    for (int i = 0; i < COLUMNS; i++) {
        if (efs[i] == 0) {
            OK(vd_hnsw_calibrate(index, executor_pool_get(help_pool), err));
        }
        recall[i] = data_recall(d, index, &(vd_hnsw_search_options){.ef = efs[i]}).recall;
    }
}

static double floor_for(double recall) {
    double floor = recall - 0.01 - 0.1 * (1.0 - recall);
    return floor > 0 ? floor : 0.0;
}

/* Where auto walks on codes they rank as well as the values do. */
static void compare_with_values(const data *d, const vd_hnsw *index, const double *recall) {
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(index, &stats);
    if (stats.encoding == VD_ENCODING_F32) {
        return;
    }
    double by_values[COLUMNS], sum = 0;
    const bool foreign = d->kind == DATA_FOREIGN; /* other graphs, and no two lead such queries alike */
    vd_hnsw *values = index_of(d, VD_ENCODING_F32);
    measure(d, values, by_values);
    vd_hnsw_free(values);
    for (int i = 0; i < 4; i++) {
        sum += recall[i] - by_values[i];
        if (recall[i] < by_values[i] - (foreign ? 0.03 : 0.012)) {
            fail_msg("%s, ef %u: recall %.4f by %s, %.4f by values", d->name, efs[i], recall[i],
                     vd_encoding_name(stats.encoding), by_values[i]);
        }
    }
    if (sum / 4 < (foreign ? -0.015 : -0.005)) {
        fail_msg("%s: recall by %s is %.4f below that by values", d->name, vd_encoding_name(stats.encoding), -sum / 4);
    }
}

static void recall_keeps_to_its_floors(void **state) {
    const row *r = *state;
    data d;
    data_make(&d, r->kind, r->metric, help_amount(3000, 1100), help_amount(200, 50));
    vd_hnsw *index = index_of(&d, tables[table].encoding);
    double recall[COLUMNS];
    measure(&d, index, recall);
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(index, &stats);
    print_message("{%d, %d, {%.3f, %.3f, %.3f, %.3f, %.3f}}, /* %s, %s: %.4f %.4f %.4f %.4f, target %.4f */\n", r->kind,
                  r->metric, floor_for(recall[0]), floor_for(recall[1]), floor_for(recall[2]), floor_for(recall[3]),
                  floor_for(recall[4]), d.name, vd_encoding_name(stats.encoding), recall[0], recall[1], recall[2],
                  recall[3], recall[4]);
    for (int i = 0; i < COLUMNS && !HELP_SANITIZED && !getenv("VECTORD_TEST_PRINT"); i++) {
        if (recall[i] < r->floors[i]) {
            fail_msg("%s at %s%u: recall %.4f, its floor is %.3f", d.name, efs[i] ? "ef " : "the default target, ",
                     efs[i], recall[i], r->floors[i]);
        }
    }
    every_item_finds_itself(&d, index);
    if (tables[table].encoding == VD_ENCODING_AUTO && !HELP_SANITIZED) {
        compare_with_values(&d, index, recall);
    }
    help_check(index, d.name);
    vd_hnsw_free(index);
    data_free(&d);
}

int main(int argc, char **argv) {
    while (table < TABLES && (argc != 2 || strcmp(argv[1], tables[table].name) != 0)) {
        table++;
    }
    if (table == TABLES) {
        fprintf(stderr, "usage: %s auto|f32|sq8|sq4\n", argv[0]);
        return 64;
    }
    struct CMUnitTest tests[ROWS];
    for (size_t i = 0; i < ROWS; i++) {
        const row *r = &tables[table].rows[i];
        tests[i] = (struct CMUnitTest){data_name(r->kind), recall_keeps_to_its_floors, NULL, NULL, (void *)r};
    }
    return cmocka_run_group_tests(tests, help_pool_up, help_pool_down);
}
