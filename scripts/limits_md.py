#!/usr/bin/env python3
"""Writes the table of docs/limits.md from include/vectord/limits.h; --check fails when the file says something else."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = ROOT / "include/vectord/limits.h"
PAGE = ROOT / "docs/limits.md"

INTRO = """# Limits

Made by `scripts/limits_md.py` from [include/vectord/limits.h](../include/vectord/limits.h): change that file, then run it
(the test `house/limits_doc` compares the two). A limit that is not here does not exist. Every maximum is inclusive.
What is beyond one is refused, with an error that names the field, the limit and the value where a single value is at fault;
only a body that is too large and JSON that is nested too deeply are just called so, and a larger `k` is cut.
"""


def sections(text):
    """(title, [(name, value, reason)]) for each `/* ---- title ---- */`."""
    text = text.replace("\\\n", " ")
    title, rows, reason = None, [], ""
    token = re.compile(
        r"/\* -{4} (?P<title>.*?) -{4} \*/"
        r"|#define[ \t]+(?P<name>VD_\w+)[ \t]+(?P<value>.*?)[ \t]*(?:/\*(?P<after>.*?)\*/)?[ \t]*$"
        r"|/\*(?P<before>.*?)\*/",
        re.S | re.M,
    )
    for match in token.finditer(text[text.index("#define VECTORD_LIMITS_H") + 10 :]):
        if match["title"]:
            if title:
                yield title, rows
            title, rows, reason = match["title"], [], ""
        elif match["name"]:
            why = clean(match["after"]) or reason
            rows.append((match["name"], tidy(match["value"]), why))
            reason = ""
        elif title:
            reason = clean(match["before"])
    yield title, rows


def clean(comment):
    return " ".join(re.sub(r"^\s*\*", "", line).strip() for line in (comment or "").splitlines()).strip().replace("|", "\\|")


def tidy(value):
    value = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", " ".join(value.split()))
    value = value[1:-1] if value.startswith("(") and value.endswith(")") else value
    if re.fullmatch(r"[\d\s*<]+", value) and not value.isdigit():
        number = eval(value)  # digits, spaces, * and << only
        for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if number % size == 0:
                return f"{number} ({number // size} {unit})"
        return str(number)
    return value


def page():
    out = [INTRO]
    for title, rows in sections(HEADER.read_text()):
        title = re.sub(r"docs/config\.md", "[docs/config.md](config.md)", title)
        out.append(f"\n## {title[0].upper() + title[1:]}\n\n| name | value | why |\n|---|---|---|\n")
        out += [f"| `{name}` | {value} | {why} |\n" for name, value, why in rows]
    return "".join(out)


def main():
    wanted = page()
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text() != wanted:
            sys.exit("docs/limits.md is not what limits.h says: run scripts/limits_md.py")
        print("docs/limits.md says what limits.h says")
    else:
        PAGE.write_text(wanted)


main()
