/* The walk over a TOML document: what is visited, in which order, with which place; what is refused before it can hurt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "config/toml_reader.h"
#include "vectord/limits.h"

static vd_status note(void *arg, const toml_entry *e) {
    buffer *out = arg;
    buffer_printf(out, "%u:%u [%s] %s=", e->line, e->column, e->table, e->key);
    switch (e->kind) {
    case TOML_STRING:
    case TOML_STRINGS:
        for (size_t i = 0; i < e->text_count; i++) {
            buffer_printf(out, "<%s>", e->texts[i]);
        }
        break;
    case TOML_INTEGER:
        buffer_printf(out, "%lld", (long long)e->integer);
        break;
    case TOML_NUMBER:
        buffer_printf(out, "%g", e->number);
        break;
    case TOML_BOOL:
        buffer_put_str(out, e->boolean ? "yes" : "no");
        break;
    case TOML_OTHER:
        buffer_printf(out, "(%s)", e->type_name);
        break;
    }
    buffer_put_str(out, "\n");
    return VD_OK;
}

static void expect_walk(const char *text, const char *walk) {
    buffer out;
    buffer_init(&out, 0);
    vd_error err = {0};
    if (toml_read(text, strlen(text), note, &out, &err) != VD_OK) {
        fail_msg("%s", err.text);
    }
    buffer_put_u8(&out, 0);
    assert_string_equal((const char *)out.data, walk);
    buffer_fini(&out);
}

static void expect_fault(const char *text, size_t size, vd_status status, const char *place) {
    buffer out;
    buffer_init(&out, 0);
    vd_error err = {0};
    assert_int_equal(toml_read(text, size, note, &out, &err), status);
    if (strncmp(err.text, place, strlen(place)) != 0) {
        fail_msg("\"%s\" does not begin with \"%s\"", err.text, place);
    }
    buffer_fini(&out);
}

static void test_every_kind_of_value_with_its_place(void **state) {
    (void)state;
    expect_walk("top = 1\n"
                "[b]\n"
                "  s = \"x\\ty\"\n"
                "i = -7\n"
                "n = 1.5\n"
                "t = true\n"
                "l = [\"a\", \"b\"]\n"
                "e = []\n"
                "m = [1, \"a\"]\n"
                "d = 2026-01-02\n"
                "deep.er = 1\n"
                "[a]\n"
                "[c]\n"
                "inline = { x = 1 }\n",
                "1:1 [] top=1\n"
                "3:3 [b] s=<x\ty>\n"
                "4:1 [b] i=-7\n"
                "5:1 [b] n=1.5\n"
                "6:1 [b] t=yes\n"
                "7:1 [b] l=<a><b>\n"
                "8:1 [b] e=\n"
                "9:1 [b] m=(array)\n"
                "10:1 [b] d=(date)\n"
                "11:1 [b] deep=(table)\n"
                "12:2 [a] =(table)\n"
                "14:1 [c] inline=(table)\n");
}

static void test_an_empty_document_has_no_entries(void **state) {
    (void)state;
    expect_walk("", "");
    expect_walk("# nothing\n\n", "");
}

static void test_faults_carry_line_and_column(void **state) {
    (void)state;
    static const struct {
        const char *text, *place;
    } cases[] = {
        {"a = \n", "1:5: "},          {"[x]\nbind = \"unclosed\n", "2:"}, {"[x]\na = 1\na = 2\n", "3:5: "},
        {"[x]\n[x]\n", "2:"},         {"[://veind = \n", "1:2: "},        {"\xFF\n", "1:1: "},
        {"a = \"\xC0\x80\"\n", "1:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_fault(cases[i].text, strlen(cases[i].text), VD_INVALID_ARGUMENT, cases[i].place);
    }
}

static void test_nul_bytes_cannot_cut_a_name_short(void **state) {
    (void)state;
    static const char raw[] = "[vectord]\nbind\0x = 1\n";
    expect_fault(raw, sizeof raw - 1, VD_INVALID_ARGUMENT, "2:");
    static const char escaped[] = "[vectord]\n\"bind\\u0000x\" = 1\n";
    expect_fault(escaped, sizeof escaped - 1, VD_INVALID_ARGUMENT, "2:1: a key with a NUL");
    expect_walk("[v]\nx = \"a\\u0000b\"\ny = [\"a\\u0000b\"]\n", "2:1 [v] x=(string with a NUL)\n3:1 [v] y=(array)\n");
}

static vd_status stop_at_once(void *arg, const toml_entry *e) {
    (void)e;
    (*(int *)arg)++;
    return VD_ABORTED;
}

static void test_a_visit_can_end_the_walk(void **state) {
    (void)state;
    int visits = 0;
    assert_int_equal(toml_read("[a]\nx=1\ny=2\n", 12, stop_at_once, &visits, NULL), VD_ABORTED);
    assert_int_equal(visits, 1);
}

static void test_the_size_is_capped(void **state) {
    (void)state;
    char *text = malloc(VD_CONFIG_MAX_BYTES + 1);
    assert_non_null(text);
    memset(text, '\n', VD_CONFIG_MAX_BYTES + 1);
    buffer out;
    buffer_init(&out, 0);
    assert_int_equal(toml_read(text, VD_CONFIG_MAX_BYTES, note, &out, NULL), VD_OK);
    expect_fault(text, VD_CONFIG_MAX_BYTES + 1, VD_TOO_LARGE, "1:1: ");
    buffer_fini(&out);
    free(text);
}

/* Nesting is what could run down the stack: deep arrays, inline tables, dotted keys. */
static void test_deep_nesting_is_refused_or_harmless(void **state) {
    (void)state;
    char *text = malloc(VD_CONFIG_MAX_BYTES + 16);
    assert_non_null(text);
    size_t size = (size_t)sprintf(text, "a = ");
    memset(text + size, '[', 60000);
    expect_fault(text, size + 60000, VD_INVALID_ARGUMENT, "1:");
    size = (size_t)sprintf(text, "a = ");
    for (int i = 0; i < 10000; i++) {
        size += (size_t)sprintf(text + size, "{a=");
    }
    expect_fault(text, size, VD_INVALID_ARGUMENT, "1:");

    size = 0;
    for (int i = 0; i < 2048; i++) {
        size += (size_t)sprintf(text + size, "a.");
    }
    sprintf(text + size, "a = 1\n");
    buffer out;
    buffer_init(&out, 0);
    assert_int_equal(toml_read(text, strlen(text), note, &out, NULL), VD_OK);
    buffer_fini(&out);
    sprintf(text + size, "a.a = 1\n");
    expect_fault(text, strlen(text), VD_TOO_LARGE, "1:1: more than 2048 dots");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_value_with_its_place),
        cmocka_unit_test(test_an_empty_document_has_no_entries),
        cmocka_unit_test(test_faults_carry_line_and_column),
        cmocka_unit_test(test_nul_bytes_cannot_cut_a_name_short),
        cmocka_unit_test(test_a_visit_can_end_the_walk),
        cmocka_unit_test(test_the_size_is_capped),
        cmocka_unit_test(test_deep_nesting_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
