"""Where libvectord.so is looked for, and what is said when it is not there. Each case is an interpreter of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

from support import ROOT, FolderTest

import vectord

PACKAGE = Path(vectord.__file__).resolve().parent
CODE = "import vectord; vectord.Index(3).add(None, [[1, 2, 3]]); print(vectord.library_path())"


class Finding(FolderTest):
    def run_python(self, code: str = CODE, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
        """Without VECTORD_LIBRARY, and with a home of its own, so that no library of this machine's user is found."""
        clean = {key: value for key, value in os.environ.items() if key not in ("VECTORD_LIBRARY", "LD_LIBRARY_PATH")}
        clean.update(HOME=str(self.folder), PYTHONPATH=str(path or PACKAGE.parent), PYTHONDONTWRITEBYTECODE="1")
        clean.update(environment)
        return subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, timeout=60)

    def setUp(self) -> None:
        super().setUp()
        self.library = vectord.library_path()

    def test_the_environment_names_it(self) -> None:
        done = self.run_python(VECTORD_LIBRARY=self.library)
        self.assertEqual((done.stdout.strip(), done.returncode), (self.library, 0), done.stderr)

    def test_the_environment_names_what_is_not_there(self) -> None:
        done = self.run_python(VECTORD_LIBRARY="/none/libvectord.so.0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("vectord._errors.LibraryNotFound: VECTORD_LIBRARY=/none/libvectord.so.0", done.stderr)
        (self.folder / "text").write_text("not a library")
        self.assertIn("VECTORD_LIBRARY", self.run_python(VECTORD_LIBRARY=str(self.folder / "text")).stderr)

    def test_the_loader_finds_it(self) -> None:
        os.symlink(self.library, self.folder / "libvectord.so.0")
        done = self.run_python(LD_LIBRARY_PATH=str(self.folder))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("libvectord.so", done.stdout)

    def test_it_lies_in_a_usual_place(self) -> None:
        place = self.folder / ".local" / "lib"
        place.mkdir(parents=True)
        os.symlink(self.library, place / "libvectord.so.0")
        done = self.run_python()
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_it_lies_beside_the_package(self) -> None:
        shutil.copytree(PACKAGE, self.folder / "site" / "vectord", ignore=shutil.ignore_patterns("__pycache__"))
        os.symlink(self.library, self.folder / "site" / "vectord" / "libvectord.so.0")
        done = self.run_python(path=self.folder / "site")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_it_is_nowhere(self) -> None:
        code = (
            "import vectord._library as l; l.FILE_NAME = 'libvectord-none.so.0'\n"
            "import vectord\n"
            "try:\n    vectord.Index(3)\nexcept ImportError as error:\n    print(error)"
        )
        done = self.run_python(code)
        self.assertEqual(done.returncode, 0, done.stderr)
        for part in ("was not found", str(self.folder / ".local" / "lib"), "cmake --install", "VECTORD_LIBRARY"):
            self.assertIn(part, done.stdout)

    def test_it_is_broken_in_a_usual_place(self) -> None:
        place = self.folder / ".local" / "lib"
        place.mkdir(parents=True)
        (place / "libvectord-none.so.0").write_text("not a library")
        code = (
            "import vectord._library as l; l.FILE_NAME = 'libvectord-none.so.0'\n"
            "try:\n    l.library()\nexcept l.LibraryNotFound as error:\n    print(error)"
        )
        done = self.run_python(code)
        self.assertIn(f"{place / 'libvectord-none.so.0'}: ", done.stdout, done.stderr)

    def test_it_is_too_old(self) -> None:
        """A library without the functions of this package: that of C."""
        done = self.run_python(VECTORD_LIBRARY="libc.so.6")
        self.assertEqual(done.returncode, 1)
        self.assertIn("older than this package", done.stderr)

    def test_it_is_of_another_version(self) -> None:
        code = (
            "import vectord._library as l; l.__version__ = '9.8.7'\n"
            "try:\n    l.library()\nexcept l.LibraryNotFound as error:\n    print(error)"
        )
        done = self.run_python(code, VECTORD_LIBRARY=self.library)
        for part in (f"is version {vectord.__version__}", "version 9.8.7", "pip install", "scripts/setup.sh"):
            self.assertIn(part, done.stdout, done.stderr)

    def test_what_lies_beside_the_package_comes_first(self) -> None:
        shutil.copytree(PACKAGE, self.folder / "site" / "vectord", ignore=shutil.ignore_patterns("__pycache__"))
        os.symlink(self.library, self.folder / "site" / "vectord" / "libvectord.so.0")
        (self.folder / "libvectord.so.0").write_text("an older one")
        done = self.run_python(path=self.folder / "site", LD_LIBRARY_PATH=str(self.folder))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(str(self.folder / "site"), done.stdout)

    def test_importing_needs_no_library(self) -> None:
        done = self.run_python("import vectord; print(vectord.__version__)", VECTORD_LIBRARY="/none")
        self.assertEqual((done.stdout.strip(), done.returncode), (vectord.__version__, 0), done.stderr)

    def test_versions(self) -> None:
        self.assertEqual(vectord.library_version(), vectord.__version__)
        self.assertIn(f'version = "{vectord.__version__}"', (ROOT / "clients/python/pyproject.toml").read_text())
        self.assertTrue((PACKAGE / "py.typed").exists())


class Documents(FolderTest):
    def test_the_example_of_the_readme_works(self) -> None:
        text = (ROOT / "clients/python/README.md").read_text()
        for number, block in enumerate(text.split("```python\n")[1:]):
            code = block.split("```")[0]
            with self.subTest(number):
                done = subprocess.run(
                    [sys.executable, "-c", code],
                    env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "VECTORD_LIBRARY": vectord.library_path()},
                    cwd=self.folder,
                    capture_output=True,
                    text=True,
                    timeout=120,
                )
                self.assertEqual(done.returncode, 0, done.stderr)
                for line in code.splitlines():
                    if "  # prints " in line:
                        self.assertIn(line.partition("  # prints ")[2], done.stdout)

    def test_the_flat_header_is_bound_whole(self) -> None:
        """Every function of include/vectord/flat.h has its place in the table of the package."""
        from vectord._library import _SIGNATURES

        header = (ROOT / "include/vectord/flat.h").read_text()
        declared = {
            word.split("(")[0].lstrip("*")
            for word in header.split()
            if word.lstrip("*").startswith("vd_flat_") and "(" in word
        }
        self.assertEqual(declared - set(_SIGNATURES), {"vd_flat_run"})  # bound by hand, without argument types


if __name__ == "__main__":
    unittest.main()
