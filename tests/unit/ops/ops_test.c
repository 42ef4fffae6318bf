/* ops_test.c - the table's own rules, and each handler from message to message: defaults, texts, what is set and what is not. */
#include "unit/store/check.h"

#include "base/clock.h"
#include "base/executor.h"
#include "base/log.h"
#include "ops/ops_int.h"

typedef struct fixture {
    registry *r;
    ops_context ctx;
    arena arena;
    op_call call;
    vd_error err;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    log_setup(LOG_ERROR + 1, LOG_FORMAT_TEXT);
    registry_options options = {0};
    OK(registry_open(&options, &f->r, NULL));
    f->ctx = (ops_context){.registry = f->r, .version = "1.2.3", .started_ms = clock_now_ms() - 1500};
    arena_init(&f->arena, NULL, 0);
    f->call.arena = &f->arena;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    registry_close(f->r);
    arena_fini(&f->arena);
    free(f);
    return 0;
}

static vd_status run(fixture *f, const char *name, const void *request, void *reply) {
    char method[64];
    snprintf(method, sizeof method, "/vectord.v1.VectorService/%s", name);
    const op_row *row = ops_find(method, strlen(method));
    assert_non_null(row);
    ProtobufCMessage *out = NULL;
    vd_status status = ops_dispatch(&f->ctx, row, &f->call, request, &out, &f->err);
    if (status == VD_OK) {
        assert_ptr_equal(out->descriptor, row->response);
        *(ProtobufCMessage **)reply = out;
    }
    return status;
}

static void check_text(ProtobufCBinaryData got, const char *wanted) {
    assert_true(bytes_equal(op_bytes(got), bytes_str(wanted)));
}

/* ---- the table ---- */

static void table(void **state) {
    (void)state;
    size_t count;
    const op_row *rows = ops_table(&count);
    const ProtobufCServiceDescriptor *service = &vectord__v1__vector_service__descriptor;
    assert_int_equal(count, service->n_methods);
    for (size_t i = 0; i < count; i++) {
        const ProtobufCMethodDescriptor *method =
            protobuf_c_service_descriptor_get_method_by_name(service, rows[i].name);
        assert_non_null(method); /* every method of the service has a row, with its messages */
        assert_ptr_equal(method->input, rows[i].request);
        assert_ptr_equal(method->output, rows[i].response);
        char full[96];
        snprintf(full, sizeof full, "/%s/%s", service->name, rows[i].name);
        assert_string_equal(rows[i].method, full);
        assert_ptr_equal(ops_find(full, strlen(full)), &rows[i]);
        const char *open = strchr(rows[i].http_path, '{');
        if (open) {
            const char *close = strchr(open, '}');
            assert_non_null(close);
            assert_null(strchr(close, '{'));
            char field[32];
            snprintf(field, sizeof field, "%.*s", (int)(close - open - 1), open + 1);
            assert_non_null(protobuf_c_message_descriptor_get_field_by_name(rows[i].request, field));
        } else {
            assert_null(rows[i].precheck);
        }
        assert_true(rows[i].http_path[0] == '/' || rows[i].http_path[0] == '=');
        assert_non_null(rows[i].handler);
        /* a write waits for the disk */
        assert_true(!(rows[i].flags & OP_MUTATES) || (rows[i].flags & OP_BLOCKS));
    }
    assert_null(ops_find("/vectord.v1.VectorService/", 26));
    assert_null(ops_find("/vectord.v1.VectorService/Searc", 31));
}

/* ---- handlers ---- */

static void create(fixture *f, const char *name, uint32_t dimension) {
    Vectord__V1__CreateIndexRequest in = VECTORD__V1__CREATE_INDEX_REQUEST__INIT;
    in.name = op_text(name);
    in.dimension = dimension;
    Vectord__V1__CreateIndexResponse *out;
    OK(run(f, "CreateIndex", &in, &out));
}

static void create_defaults(void **state) {
    fixture *f = *state;
    Vectord__V1__CreateIndexRequest in = VECTORD__V1__CREATE_INDEX_REQUEST__INIT;
    in.name = op_text("t");
    in.dimension = 3;
    Vectord__V1__CreateIndexResponse *out;
    OK(run(f, "CreateIndex", &in, &out));
    check_text(out->params->name, "t");
    assert_int_equal(out->params->dimension, 3);
    assert_int_equal(out->params->m, 16);
    assert_int_equal(out->params->ef_search, 20);
    assert_int_equal(out->params->ef_construction, 200);
    check_text(out->params->distance, "cosine");
    assert_int_equal(out->length, 0);
    FAILS(run(f, "CreateIndex", &in, &out), VD_ALREADY_EXISTS);
    assert_string_equal(f->err.text, "index already exists");

    in.name = op_text("u");
    in._m_case = VECTORD__V1__CREATE_INDEX_REQUEST___M_M;
    in.m = 0; /* as absent */
    in._ef_search_case = VECTORD__V1__CREATE_INDEX_REQUEST___EF_SEARCH_EF_SEARCH;
    in.ef_search = 50;
    in._distance_case = VECTORD__V1__CREATE_INDEX_REQUEST___DISTANCE_DISTANCE;
    in.distance = op_text("euclidean");
    OK(run(f, "CreateIndex", &in, &out));
    assert_int_equal(out->params->m, 16);
    assert_int_equal(out->params->ef_search, 50);
    check_text(out->params->distance, "euclidean");

    in.name = op_text("v");
    in.distance = op_text("manhattan");
    FAILS(run(f, "CreateIndex", &in, &out), VD_INVALID_ARGUMENT);
    assert_string_equal(f->err.text, "distance: must be \"cosine\" or \"euclidean\" (got \"manhattan\")");
    assert_string_equal(f->err.field, "distance");
    in.distance = op_text("");
    in.dimension = 0;
    FAILS(run(f, "CreateIndex", &in, &out), VD_INVALID_ARGUMENT);
    assert_string_equal(f->err.text, "dimension: must be 1..16384 (got 0)");

    f->call.request_id = bytes_str("r1");
    in.dimension = 2;
    OK(run(f, "CreateIndex", &in, &out));
    OK(run(f, "CreateIndex", &in, &out)); /* sent again: created again */
    assert_int_equal(out->params->dimension, 2);
}

static void list_get_delete(void **state) {
    fixture *f = *state;
    Vectord__V1__ListIndexesRequest list = VECTORD__V1__LIST_INDEXES_REQUEST__INIT;
    Vectord__V1__ListIndexesResponse *names;
    OK(run(f, "ListIndexes", &list, &names));
    assert_int_equal(names->count, 0);
    assert_int_equal(names->n_names, 0);
    create(f, "b", 2);
    create(f, "a", 2);
    OK(run(f, "ListIndexes", &list, &names));
    assert_int_equal(names->count, 2);
    check_text(names->names[0], "a");
    check_text(names->names[1], "b");

    Vectord__V1__GetIndexRequest get = VECTORD__V1__GET_INDEX_REQUEST__INIT;
    get.name = op_text("a");
    Vectord__V1__GetIndexResponse *info;
    OK(run(f, "GetIndex", &get, &info));
    check_text(info->params->name, "a");
    check_text(info->state, "ready");
    check_text(info->reason, "");
    check_text(info->encoding, "f32");
    assert_int_equal(info->length, 0);
    assert_true(info->load_progress == 1.0);

    Vectord__V1__DeleteIndexRequest del = VECTORD__V1__DELETE_INDEX_REQUEST__INIT;
    del.name = op_text("a");
    Vectord__V1__DeleteIndexResponse *gone;
    OK(run(f, "DeleteIndex", &del, &gone));
    FAILS(run(f, "DeleteIndex", &del, &gone), VD_NOT_FOUND);
    assert_string_equal(f->err.text, "not found");
    FAILS(run(f, "GetIndex", &get, &info), VD_NOT_FOUND);
    assert_string_equal(f->err.text, "not found");
    OK(op_precheck_exists(&f->ctx, bytes_str("b"), NULL));
    FAILS(op_precheck_exists(&f->ctx, bytes_str("a"), NULL), VD_NOT_FOUND);
    FAILS(op_precheck_exists(&f->ctx, bytes_str(""), NULL), VD_NOT_FOUND);
}

static vd_status add(fixture *f, const char *id, float x, float y, const char *metadata) {
    float v[2] = {x, y};
    Vectord__V1__Item item = VECTORD__V1__ITEM__INIT, *items[] = {&item};
    item.id = op_text(id);
    item.n_vector = 2;
    item.vector = v;
    if (metadata) {
        item._metadata_case = VECTORD__V1__ITEM___METADATA_METADATA;
        item.metadata = op_text(metadata);
    }
    Vectord__V1__AddItemsRequest in = VECTORD__V1__ADD_ITEMS_REQUEST__INIT;
    in.name = op_text("t");
    in.n_items = 1;
    in.items = items;
    Vectord__V1__AddItemsResponse *out;
    vd_status status = run(f, "AddItems", &in, &out);
    if (status == VD_OK) {
        assert_int_equal(out->added, 1);
    }
    return status;
}

static void add_and_search(void **state) {
    fixture *f = *state;
    FAILS(add(f, "a", 1, 0, NULL), VD_NOT_FOUND);
    assert_string_equal(f->err.text, "not found");
    create(f, "t", 2);
    Vectord__V1__AddItemsRequest none = VECTORD__V1__ADD_ITEMS_REQUEST__INIT;
    none.name = op_text("t");
    Vectord__V1__AddItemsResponse *added;
    FAILS(run(f, "AddItems", &none, &added), VD_INVALID_ARGUMENT);
    assert_string_equal(f->err.text, "items must be non-empty");
    FAILS(add(f, "", 1, 0, NULL), VD_INVALID_ARGUMENT);
    assert_string_equal(f->err.text, "items[0]: empty id");
    FAILS(add(f, "a", 0, 0, NULL), VD_INVALID_ARGUMENT);
    assert_string_equal(f->err.text, "items[0]: zero-norm vector");
    OK(add(f, "a", 1, 0, "{\"x\" : 1}"));
    OK(add(f, "b", 0, 1, NULL));

    float q[2] = {1, 0};
    Vectord__V1__SearchRequest in = VECTORD__V1__SEARCH_REQUEST__INIT;
    in.name = op_text("t");
    in.n_vector = 2;
    in.vector = q;
    Vectord__V1__SearchResponse *out;
    OK(run(f, "Search", &in, &out));
    assert_int_equal(out->n_results, 2);
    check_text(out->results[0]->id, "a");
    assert_true(out->results[0]->distance == 0 && out->results[0]->score == 1);
    assert_int_equal(out->results[0]->_metadata_case, VECTORD__V1__HIT___METADATA_METADATA);
    check_text(out->results[0]->metadata, "{\"x\" : 1}");
    assert_int_equal(out->results[1]->_metadata_case, VECTORD__V1__HIT___METADATA__NOT_SET);
    OK(add(f, "a", 1, 0, "{}"));
    OK(run(f, "Search", &in, &out));
    assert_int_equal(out->results[0]->_metadata_case, VECTORD__V1__HIT___METADATA__NOT_SET);

    for (int i = 0; i < 1100; i++) {
        char id[16];
        snprintf(id, sizeof id, "n%d", i);
        OK(add(f, id, 1, (float)i, NULL));
    }
    static const struct {
        int32_t k;
        size_t results;
    } ks[] = {{0, 10}, {-5, 10}, {1, 1}, {1000, 1000}, {1001, 1000}, {INT32_MAX, 1000}};
    in._k_case = VECTORD__V1__SEARCH_REQUEST___K_K;
    for (size_t i = 0; i < sizeof ks / sizeof ks[0]; i++) {
        in.k = ks[i].k;
        OK(run(f, "Search", &in, &out));
        assert_int_equal(out->n_results, ks[i].results);
    }
    in.k = 3;
    in._ef_case = VECTORD__V1__SEARCH_REQUEST___EF_EF;
    in.ef = 5000;
    FAILS(run(f, "Search", &in, &out), VD_INVALID_ARGUMENT);
    assert_string_equal(f->err.field, "ef");
    const op_row *row = ops_find("/vectord.v1.VectorService/Search", 32);
    assert_true(ops_blocks(&f->ctx, row, &in.base));
    in.ef = 40;
    assert_false(ops_blocks(&f->ctx, row, &in.base));
    OK(run(f, "Search", &in, &out));
    in.n_vector = 1;
    FAILS(run(f, "Search", &in, &out), VD_INVALID_ARGUMENT);
    assert_string_equal(f->err.text, "dim mismatch (index=2, got=1)");
    in.n_vector = 0;
    in._id_case = VECTORD__V1__SEARCH_REQUEST___ID_ID;
    in.id = op_text("a");
    OK(run(f, "Search", &in, &out));
    assert_int_equal(out->n_results, 3);
    in.id = op_text("nobody");
    FAILS(run(f, "Search", &in, &out), VD_NOT_FOUND);
    float zero[2] = {0, 0};
    in._id_case = VECTORD__V1__SEARCH_REQUEST___ID__NOT_SET;
    in.n_vector = 2;
    in.vector = zero;
    FAILS(run(f, "Search", &in, &out), VD_INVALID_ARGUMENT);
    assert_string_equal(f->err.text, "zero-norm vector");
}

static void health(void **state) {
    fixture *f = *state;
    create(f, "t", 2);
    OK(add(f, "a", 1, 0, NULL));
    Vectord__V1__HealthRequest in = VECTORD__V1__HEALTH_REQUEST__INIT;
    Vectord__V1__HealthResponse *out;
    OK(run(f, "Health", &in, &out));
    check_text(out->status, "ok");
    check_text(out->version, "1.2.3");
    assert_true(out->ready);
    assert_false(out->durable);
    assert_int_equal(out->indexes, 1);
    assert_int_equal(out->items, 1);
    assert_true(out->uptime_seconds >= 1.5);
}

static void deadline_and_memory(void **state) {
    fixture *f = *state;
    create(f, "t", 2);
    OK(add(f, "a", 1, 0, NULL));
    f->call.deadline_ms = 1; /* long ago */
    Vectord__V1__HealthRequest in = VECTORD__V1__HEALTH_REQUEST__INIT;
    Vectord__V1__HealthResponse *out;
    FAILS(run(f, "Health", &in, &out), VD_DEADLINE_EXCEEDED);
    f->call.deadline_ms = 0;
    arena tiny;
    arena_init(&tiny, NULL, 32);
    f->call.arena = &tiny;
    FAILS(run(f, "Health", &in, &out), VD_OUT_OF_MEMORY);
    FAILS(add(f, "b", 1, 0, NULL), VD_OUT_OF_MEMORY);
    assert_true(f->err.text[0] != '\0');
    f->call.arena = &f->arena;
    arena_fini(&tiny);
    Vectord__V1__GetIndexRequest get = VECTORD__V1__GET_INDEX_REQUEST__INIT;
    get.name = op_text("t");
    Vectord__V1__GetIndexResponse *info;
    OK(run(f, "GetIndex", &get, &info));
    assert_int_equal(info->length, 1); /* what was answered with an error was not done */
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table), T(create_defaults), T(list_get_delete),
        T(add_and_search),       T(health),          T(deadline_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
