#!/usr/bin/env python3
"""Runs the conformance cases over every door of a real vectord and demands equal answers everywhere.

    run.py [--doors json,nng] [--topic NAME] [--case TEXT] [--verbose]

Prints a matrix door x topic and `N passed, N failed`; exit code 1 when anything failed. README.md describes the case files.
"""

import argparse
import glob
import json
import os
import sys

from doors import open_door
from server import Server, TempDir
from values import difference, expand

HERE = os.path.dirname(os.path.abspath(__file__))
ALL = ["json", "json-v1", "proto", "nng"]


def load(topic=None, text=None):
    """[(topic, case)] and the table of operations."""
    with open(os.path.join(HERE, "cases", "operations.json"), encoding="utf-8") as f:
        table = json.load(f)
    cases = []
    for path in sorted(glob.glob(os.path.join(HERE, "cases", "*.json"))):
        with open(path, encoding="utf-8") as f:
            data = json.load(f)
        if "cases" not in data or topic not in (None, data["topic"]):
            continue
        cases += [(data["topic"], case) for case in data["cases"] if not text or text in case["title"]]
    return table, cases


def empty_server(door, keep=()):
    """Each case begins on a server without indexes (but those to keep)."""
    for name in door.run({"op": "ListIndexes"}).reply["names"]:
        if name in keep:
            continue
        outcome = door.run({"op": "DeleteIndex", "request": {"name": name}})
        if outcome.code != "OK":
            raise ValueError(f"cannot delete {name!r}: {outcome}")


def check(door, step, outcome, table):
    """None, or what is wrong with the outcome of one step."""
    code = step.get("code", "OK")
    if outcome.code is not None and outcome.code != code:
        return f"code: expected {code}, got {outcome.code} ({outcome.text or outcome.reply})"
    if outcome.http is not None:
        default = table["operations"][step["op"]]["http"] if code == "OK" and "op" in step else table["http"].get(code)
        wanted = step.get("http", default)
        if wanted and outcome.http != wanted:
            return f"HTTP status: expected {wanted}, got {outcome.http} ({outcome.text or outcome.reply})"
    if "text" in step and outcome.text != expand(step["text"]):
        return f"text: expected {expand(step['text'])!r}, got {outcome.text!r}"
    if "text_prefix" in step and not outcome.text.startswith(step["text_prefix"]):
        return f"text: expected {step['text_prefix']!r}..., got {outcome.text!r}"
    if "field" in step and outcome.code is not None and outcome.fields != ([step["field"]] if step["field"] else []):
        return f"violations: expected {step['field']!r}, got {outcome.fields}"
    if "reply" in step:
        found = difference(expand(step["reply"]), outcome.reply)
        if found:
            return found
    if "body_text" in step and outcome.body is not None and outcome.body != expand(step["body_text"]):
        return f"body: expected {expand(step['body_text'])!r}, got {outcome.body!r}"
    for name, value in step.get("answer_headers", {}).items():
        if outcome.http is not None and outcome.headers.get(name) != value:
            return f"header {name}: expected {value!r}, got {outcome.headers.get(name)!r}"
    return None


def run_case(door, case, table, keep=()):
    """(None or what failed, [comparable outcome of each step])."""
    outcomes = []
    try:
        empty_server(door, keep)
        for j, step in enumerate(case["steps"]):
            outcome = door.run(step)
            outcomes.append(outcome.comparable())
            wrong = check(door, step, outcome, table)
            if wrong:
                return f"step {j + 1} ({step.get('op', 'raw')}): {wrong}", outcomes
    except Exception as error:  # a lost connection, an answer that does not parse: the case failed, the run goes on
        return f"step {len(outcomes) + 1}: {type(error).__name__}: {error}", outcomes
    return None, outcomes


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--doors", default=",".join(ALL))
    parser.add_argument("--topic")
    parser.add_argument("--case", help="only cases whose title holds this text")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()

    table, cases = load(args.topic, args.case)
    if not cases:
        raise SystemExit("no such case")
    names = args.doors.split(",")
    counts, failures = {}, []
    with TempDir() as data, Server(data) as server:
        for topic, case in cases:
            seen = {}
            for name in names:
                if name not in case.get("doors", ALL):
                    continue
                door = open_door(server, name, table)
                wrong, outcomes = run_case(door, case, table)
                door.close()
                if not wrong and seen and case.get("equal", True):
                    first = next(iter(seen))
                    if seen[first] != outcomes:
                        differ = next((a, b) for a, b in zip(seen[first], outcomes) if a != b)
                        wrong = f"answers differ from door {first}:\n      {differ[0]}\n      {differ[1]}"[:2000]
                if not wrong:
                    seen[name] = outcomes
                passed, failed = counts.get((name, topic), (0, 0))
                counts[name, topic] = (passed + (not wrong), failed + bool(wrong))
                if wrong:
                    failures.append(name)
                    print(f"FAIL {topic} / {case['title']} / {name}\n     {wrong}")
                elif args.verbose:
                    print(f"ok   {topic} / {case['title']} / {name}")
                if server.process.poll() is not None:
                    server.show_log()
                    raise SystemExit(f"vectord ended with {server.process.returncode}")

    topics = sorted({topic for _, topic in counts})
    print(f"\n{'passed/all':<12}" + "".join(f"{topic:>12}" for topic in topics))
    for name in names:
        cells = [counts.get((name, topic), (0, 0)) for topic in topics]
        print(f"{name:<12}" + "".join(f"{p}/{p + f}".rjust(12) for p, f in cells))
    passed = sum(p for p, _ in counts.values())
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
