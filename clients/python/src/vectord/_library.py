"""Finds libvectord.so and says what its functions take.

The functions are those of include/vectord/flat.h, where each is described. Arrays go in as addresses (ints): ctypes
converts an int faster than it makes a pointer object.
"""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
import threading
from ctypes import POINTER, c_char_p, c_double, c_int, c_int64, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from ._errors import LibraryNotFound
from ._version import __version__

FILE_NAME = "libvectord.so.0"
ERROR_BYTES = 512

PROGRESS = ctypes.CFUNCTYPE(c_int, c_void_p, c_uint64, c_uint64)

# name: (result, arguments). A status is an int; where the last argument is c_char_p, it is the place for the error's
# text.
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "vd_version": (c_char_p, []),
    "vd_hnsw_cpu": (c_char_p, []),
    "vd_encoding_name": (c_char_p, [c_int]),
    "vd_flat_release": (None, [c_void_p]),
    "vd_flat_new": (
        c_int,
        [c_uint32, c_char_p, c_uint32, c_uint32, c_uint32, c_double, c_char_p, c_uint32, c_uint64, c_void_p, c_char_p],
    ),
    "vd_flat_free": (None, [c_void_p]),
    "vd_flat_count": (c_uint64, [c_void_p]),
    "vd_flat_dimension": (c_uint32, [c_void_p]),
    "vd_flat_ids_are_numbers": (c_uint32, [c_void_p]),
    "vd_flat_add": (c_int, [c_void_p, c_void_p, c_uint64, c_void_p, c_uint32, POINTER(c_int64), c_char_p]),
    "vd_flat_add_text": (c_int, [c_void_p, c_void_p, c_uint64, c_char_p, c_void_p, c_uint32, c_char_p]),
    "vd_flat_delete": (c_int, [c_void_p, c_void_p, c_uint64, c_uint32, POINTER(c_uint64), c_char_p]),
    "vd_flat_delete_text": (c_int, [c_void_p, c_char_p, c_void_p, c_uint64, c_uint32, POINTER(c_uint64), c_char_p]),
    "vd_flat_optimize": (c_int, [c_void_p, c_uint32, PROGRESS, c_void_p, c_char_p]),
    "vd_flat_calibration_due": (c_uint32, [c_void_p]),
    "vd_flat_calibrate": (c_int, [c_void_p, c_uint32, c_char_p]),
    "vd_flat_search": (
        c_int,
        [c_void_p, c_void_p, c_uint64, c_uint32, c_uint32, c_double, c_uint32, c_uint32]
        + [c_void_p, c_void_p, c_void_p, c_char_p],
    ),
    "vd_flat_search_text": (
        c_int,
        [c_void_p, c_void_p, c_uint64, c_uint32, c_uint32, c_double, c_uint32, c_uint32]
        + [c_void_p, c_uint64, c_void_p, c_void_p, c_void_p, c_void_p, c_char_p],
    ),
    "vd_flat_search_filtered": (
        c_int,
        [c_void_p, c_void_p, c_char_p, c_void_p, c_uint64]
        + [c_void_p, c_uint64, c_uint32, c_uint32, c_double, c_uint32, c_uint32]
        + [c_void_p, c_void_p, c_void_p, c_char_p],
    ),
    "vd_flat_search_filtered_text": (
        c_int,
        [c_void_p, c_void_p, c_char_p, c_void_p, c_uint64]
        + [c_void_p, c_uint64, c_uint32, c_uint32, c_double, c_uint32, c_uint32]
        + [c_void_p, c_uint64, c_void_p, c_void_p, c_void_p, c_void_p, c_char_p],
    ),
    "vd_flat_prepare": (
        c_int,
        [c_void_p, c_void_p, c_uint32, c_uint32, c_double, c_uint32, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p],
    ),
    "vd_flat_prepare_text": (
        c_int,
        [c_void_p, c_void_p, c_uint32, c_uint32, c_double, c_uint32, c_void_p, c_uint64, c_void_p, c_void_p]
        + [c_void_p, c_void_p, c_void_p, c_void_p],
    ),
    "vd_flat_prepared_free": (None, [c_void_p]),
    "vd_flat_get": (c_int, [c_void_p, c_void_p, c_uint64, c_void_p, c_void_p, c_char_p]),
    "vd_flat_get_text": (c_int, [c_void_p, c_char_p, c_void_p, c_uint64, c_void_p, c_void_p, c_char_p]),
    "vd_flat_list": (c_int, [c_void_p, c_void_p, c_void_p, c_char_p]),
    "vd_flat_list_text": (c_int, [c_void_p, c_void_p, c_void_p, c_void_p, c_char_p]),
    "vd_flat_metadata": (c_int, [c_void_p, c_char_p, c_uint64, c_void_p, c_char_p]),
    "vd_flat_stats": (c_uint32, [c_void_p, c_void_p, c_uint32]),
    "vd_flat_save": (c_int, [c_void_p, c_char_p, c_char_p, c_char_p]),
    "vd_flat_load": (
        c_int,
        [c_char_p, c_double, c_char_p, c_uint32, c_uint64, c_uint32, c_uint32, c_void_p, c_char_p],
    ),
}

_HOW_TO_GET_IT = (
    "Build and install it from a clone of vectord:\n"
    "    sh scripts/setup.sh\n"
    "    cmake --preset release && cmake --build build/release --target vectord_shared\n"
    "    cmake --install build/release --component library && ldconfig\n"
    f"or set VECTORD_LIBRARY to the path of {FILE_NAME}."
)


class Library:
    """libvectord.so, loaded. Functions are its attributes, under their names without vd_ and vd_flat_."""

    def __init__(self, path: str, cdll: ctypes.CDLL) -> None:
        self.path = path
        self._check_version(cdll)
        for name, (result, arguments) in _SIGNATURES.items():
            try:
                function = cdll[name]
            except AttributeError:
                raise LibraryNotFound(
                    f"{path} has no function {name}: it is older than this package.\n{_HOW_TO_GET_IT}"
                ) from None
            function.restype = result
            function.argtypes = arguments
            setattr(self, name.replace("vd_flat_", "").replace("vd_", ""), function)
        # The function of every search of one query: without argtypes, its argument (a c_void_p) is passed as it is.
        self.run = cdll["vd_flat_run"]

    def _check_version(self, cdll: ctypes.CDLL) -> None:
        """Functions of one name may take other arguments in another version, which ctypes cannot see."""
        try:
            function = cdll["vd_version"]
        except AttributeError:
            return  # said below, with the function's name
        function.restype = c_char_p
        version = (function() or b"").decode()
        if version != __version__:
            raise LibraryNotFound(
                f"{self.path} is version {version}, and this package is version {__version__}: they must be equal. "
                f"Update the older one, both from the same clone (pip install ./clients/python).\n{_HOW_TO_GET_IT}"
            )

    def __getattr__(self, name: str) -> Any:  # for type checkers; what is missing is missing
        raise AttributeError(name)


def _installed() -> list[str]:
    """Where an installed library may be that the system's loader does not look."""
    places = [Path(sys.prefix) / "lib", Path.home() / ".local" / "lib", Path("/usr/local/lib")]
    multiarch = sysconfig.get_config_var("MULTIARCH")
    if multiarch:
        places += [place / multiarch for place in places]
    places.append(Path("/usr/local/lib64"))
    return [str(place / FILE_NAME) for place in places]


def _mapped_path(name: str) -> str:
    """The file behind a name that the loader has found; the name when /proc does not say."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            for line in maps:
                path = line.rstrip("\n").partition("/")[2]
                if os.path.basename(path).startswith("libvectord.so"):
                    return "/" + path
    except OSError:
        pass
    return name


def _open() -> Library:
    chosen = os.environ.get("VECTORD_LIBRARY")
    if chosen:
        try:
            return Library(chosen, ctypes.CDLL(chosen))
        except OSError as error:
            raise LibraryNotFound(f"VECTORD_LIBRARY={chosen} cannot be loaded: {error}") from None
    # What came with the package belongs to it. Then the loader's own places (LD_LIBRARY_PATH, /etc/ld.so.conf): asking
    # it is what ctypes.util.find_library does with three programs.
    beside = str(Path(__file__).parent / FILE_NAME)
    tried = [beside, FILE_NAME, *_installed()]
    reasons: list[str] = []
    for path in tried:
        if path != FILE_NAME and not os.path.exists(path):
            continue
        try:
            cdll = ctypes.CDLL(path)
        except OSError as error:
            if path != FILE_NAME:
                reasons.append(f"{path}: {error}")
            continue
        return Library(_mapped_path(path) if path == FILE_NAME else path, cdll)
    text = f"{FILE_NAME} was not found by the system's loader, nor as " + ", ".join([beside, *_installed()]) + "."
    raise LibraryNotFound("\n".join([text, *reasons, _HOW_TO_GET_IT]))


_lock = threading.Lock()
_loaded: Library | None = None


def library() -> Library:
    """The library, loaded at the first call. Raises LibraryNotFound."""
    global _loaded
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = _open()
    return _loaded


def library_path() -> str:
    """The path of libvectord.so in use; loads it when no index has been made yet.

    It is what VECTORD_LIBRARY in the environment says; else what lies in the folder of this package; else what the
    system's loader finds, or is in the usual places. Its version must be that of this package. Raises LibraryNotFound,
    whose text says where it was looked for and how to get it.
    """
    return library().path


def library_version() -> str:
    """The version of libvectord.so, "1.2.3". Raises LibraryNotFound."""
    version: bytes = library().version()
    return version.decode()
