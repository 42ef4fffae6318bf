"""Runs the test_* functions of a module, one after another, and says what happened to each.

    if __name__ == "__main__":
        harness.main(globals())

Arguments name the tests to run (parts of names); none runs all. Exit code 1 when one failed.
"""

import sys
import time
import traceback


class Skip(Exception):
    """This test cannot be run here, for the reason given."""


def main(namespace):
    wanted = sys.argv[1:]
    tests = [(n, f) for n, f in namespace.items() if n.startswith("test_") and (not wanted or any(w in n for w in wanted))]
    failed = 0
    for name, test in tests:
        began = time.monotonic()
        try:
            test()
            verdict = "ok  "
        except Skip as why:
            verdict = f"skip ({why})"
        except Exception:
            traceback.print_exc(file=sys.stdout)
            verdict, failed = "FAIL", failed + 1
        print(f"{verdict} {name} ({time.monotonic() - began:.2f} s)", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not tests else 0)


def equal(got, wanted, what=""):
    if got != wanted:
        raise AssertionError(f"{what + ': ' if what else ''}got {short(got)}, wanted {short(wanted)}")


def short(value):
    text = repr(value)
    return text if len(text) < 500 else f"{text[:400]}... ({len(text)} characters)"
