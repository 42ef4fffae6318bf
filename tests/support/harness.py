"""Runs the test_* functions of a module, one after another, and says what happened to each.

    if __name__ == "__main__":
        harness.main(globals())

Arguments name the tests to run (parts of names; "-part" leaves some out); none runs all. Exit code 1 when one failed, 77 when
all that were asked for cannot be run here.
"""

import sys
import time
import traceback


class Skip(Exception):
    """This test cannot be run here, for the reason given."""


def main(namespace):
    wanted = [a for a in sys.argv[1:] if not a.startswith("-")]
    unwanted = [a[1:] for a in sys.argv[1:] if a.startswith("-")]
    tests = [(n, f) for n, f in namespace.items() if n.startswith("test_") and (not wanted or any(w in n for w in wanted))]
    tests = [(n, f) for n, f in tests if not any(u in n for u in unwanted)]
    failed = skipped = 0
    for name, test in tests:
        began = time.monotonic()
        try:
            test()
            verdict = "ok  "
        except Skip as why:
            verdict, skipped = f"skip ({why})", skipped + 1
        except Exception:
            traceback.print_exc(file=sys.stdout)
            verdict, failed = "FAIL", failed + 1
        print(f"{verdict} {name} ({time.monotonic() - began:.2f} s)", flush=True)
    print(f"{len(tests) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or not tests else 77 if skipped == len(tests) else 0)


def equal(got, wanted, what=""):
    if got != wanted:
        raise AssertionError(f"{what + ': ' if what else ''}got {short(got)}, wanted {short(wanted)}")


def short(value):
    text = repr(value)
    return text if len(text) < 500 else f"{text[:400]}... ({len(text)} characters)"
