// toml_reader.cc - the one C++ file: toml++ behind the C face of toml_reader.h.
//
// Relies on toml++ for the grammar and for line and column. Nothing is thrown across the boundary: parse errors come
// back as a value (TOML_EXCEPTIONS 0), and the standard library's bad_alloc is caught here.
//
// toml++ bounds the nesting of values but not the length of dotted keys (`a.a.a.a...`), and frees tables by recursion:
// a few hundred kilobytes of dots would run down the stack. So the document is small (VD_CONFIG_MAX_BYTES) and its
// dots are counted before it is parsed: DOTS_MAX levels cost well under 1 MiB of stack, and no real file comes near.
#define TOML_EXCEPTIONS        0
#define TOML_HEADER_ONLY       1
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES 32
#include <toml++/toml.h>

#include <algorithm>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "server/toml_reader.h"
#include "vectord/limits.h"

namespace {

constexpr std::ptrdiff_t DOTS_MAX = 2048;

struct found {
    std::string table, key;
    toml::source_position at;
    const toml::node *value; // NULL: a table without keys
};

bool before(const found &a, const found &b) {
    return a.at.line != b.at.line ? a.at.line < b.at.line : a.at.column < b.at.column;
}

const char *type_name(toml::node_type type) {
    switch (type) {
    case toml::node_type::table:
        return "table";
    case toml::node_type::array:
        return "array";
    case toml::node_type::string:
        return "string";
    case toml::node_type::integer:
        return "integer";
    case toml::node_type::floating_point:
        return "number";
    case toml::node_type::boolean:
        return "boolean";
    case toml::node_type::date:
        return "date";
    case toml::node_type::time:
        return "time";
    case toml::node_type::date_time:
        return "date and time";
    default:
        return "nothing";
    }
}

bool has_nul(std::string_view text) {
    return text.find('\0') != std::string_view::npos;
}

// Fills everything of `entry` that depends on the value. `texts` keeps the pointers of an array alive.
void describe(const toml::node *value, toml_entry *entry, std::vector<const char *> *texts) {
    entry->kind = TOML_OTHER;
    entry->type_name = value ? type_name(value->type()) : "table";
    if (!value) {
        return;
    }
    if (const auto *text = value->as_string()) {
        if (has_nul(text->get())) {
            entry->type_name = "string with a NUL";
            return;
        }
        texts->push_back(text->get().c_str());
        entry->kind = TOML_STRING;
    } else if (const auto *integer = value->as_integer()) {
        entry->integer = integer->get();
        entry->kind = TOML_INTEGER;
    } else if (const auto *number = value->as_floating_point()) {
        entry->number = number->get();
        entry->kind = TOML_NUMBER;
    } else if (const auto *boolean = value->as_boolean()) {
        entry->boolean = boolean->get();
        entry->kind = TOML_BOOL;
    } else if (const auto *list = value->as_array()) {
        for (const auto &element : *list) {
            const auto *element_text = element.as_string();
            if (!element_text || has_nul(element_text->get())) {
                texts->clear();
                return;
            }
            texts->push_back(element_text->get().c_str());
        }
        entry->kind = TOML_STRINGS;
    }
    entry->texts = texts->data();
    entry->text_count = texts->size();
}

void collect(const toml::table &root, std::vector<found> *out) {
    for (const auto &[name, node] : root) {
        const auto *table = node.as_table();
        if (!table) {
            out->push_back({"", std::string(name.str()), name.source().begin, &node});
            continue;
        }
        if (table->empty()) {
            out->push_back({std::string(name.str()), "", name.source().begin, nullptr});
        }
        for (const auto &[key, value] : *table) {
            out->push_back({std::string(name.str()), std::string(key.str()), key.source().begin, &value});
        }
    }
    std::stable_sort(out->begin(), out->end(), before);
}

vd_status walk(const std::vector<found> &entries, vd_status (*visit)(void *, const toml_entry *), void *arg,
               vd_error *err) {
    for (const auto &item : entries) {
        if (has_nul(item.table) || has_nul(item.key)) { // a C string would end there and look like another key
            return vd_fail(err, VD_INVALID_ARGUMENT, nullptr, "%u:%u: a key with a NUL in it", (unsigned)item.at.line,
                           (unsigned)item.at.column);
        }
        std::vector<const char *> texts;
        toml_entry entry = {};
        entry.table = item.table.c_str();
        entry.key = item.key.c_str();
        entry.line = item.at.line;
        entry.column = item.at.column;
        describe(item.value, &entry, &texts);
        const vd_status status = visit(arg, &entry);
        if (status != VD_OK) {
            return status;
        }
    }
    return VD_OK;
}

} // namespace

vd_status toml_read(const char *text, size_t size, vd_status (*visit)(void *arg, const toml_entry *entry), void *arg,
                    vd_error *err) {
    if (size > VD_CONFIG_MAX_BYTES) {
        return vd_fail(err, VD_TOO_LARGE, nullptr, "1:1: a configuration of %zu bytes, at most %u are read", size,
                       VD_CONFIG_MAX_BYTES);
    }
    const std::string_view document(text, size);
    if (std::count(document.begin(), document.end(), '.') > DOTS_MAX) {
        return vd_fail(err, VD_TOO_LARGE, nullptr, "1:1: more than %d dots in one configuration", (int)DOTS_MAX);
    }
    try {
        const toml::parse_result result = toml::parse(document);
        if (!result) {
            const toml::parse_error &error = result.error();
            const std::string_view what = error.description();
            return vd_fail(err, VD_INVALID_ARGUMENT, nullptr, "%u:%u: %.*s", (unsigned)error.source().begin.line,
                           (unsigned)error.source().begin.column, (int)std::min<size_t>(what.size(), 300), what.data());
        }
        std::vector<found> entries;
        collect(result.table(), &entries);
        return walk(entries, visit, arg, err);
    } catch (const std::bad_alloc &) {
        return vd_fail(err, VD_OUT_OF_MEMORY, nullptr, "out of memory while reading the configuration");
    } catch (...) {
        return vd_fail(err, VD_INTERNAL, nullptr, "the TOML reader failed");
    }
}
