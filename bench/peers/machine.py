"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

OF_INTEREST = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
)


def read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def facts() -> dict[str, Any]:
    processor = read("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", processor, re.M)
    flags = set((re.search(r"^flags\s*: (.*)$", processor, re.M) or [""])[0].split())
    memory = re.search(r"MemTotal:\s+(\d+)", read("/proc/meminfo"))
    huge = re.search(r"\[(\w+)\]", read("/sys/kernel/mm/transparent_hugepage/enabled"))
    system = re.search(r'^PRETTY_NAME="(.*)"', read("/etc/os-release"), re.M)
    return {
        "when": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": model[1] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in OF_INTEREST if flag in flags],
        "virtual": "hypervisor" in flags,
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "l3": read("/sys/devices/system/cpu/cpu0/cache/index3/size"),
        "huge_pages": huge[1] if huge else None,
        "system": system[1] if system else platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": list(os.getloadavg()),
    }


def ticks() -> dict[str, int]:
    """Of all cores since the start of the machine: all, idle, stolen by the host."""
    values = [int(value) for value in read("/proc/stat").splitlines()[0].split()[1:9]]
    return {"all": sum(values), "idle": values[3] + values[4], "stolen": values[7]}


def others(before: dict[str, int], own_seconds: float) -> float:
    """Share of all cores that went to other processes since `before`, when this one has used so many seconds of them."""
    after = ticks()
    spent = (after["all"] - before["all"]) or 1
    busy = spent - (after["idle"] - before["idle"])
    return max(0.0, busy - own_seconds * os.sysconf("SC_CLK_TCK")) / spent


def sentence(f: dict[str, Any]) -> str:
    kind = "virtual machine" if f["virtual"] else "machine"
    parts = [
        f"{f['when']}: {kind} with {f['cores']} cores ({f['processor']}; {', '.join(f['flags']) or 'no flags of interest'})",
        f"L3 {f['l3'] or '?'}",
        f"{f['memory_gib']} GiB",
        f["system"],
        f"kernel {f['kernel']}",
        f"huge pages {f['huge_pages']}",
        f"load {f['load'][0]:.2f} before the run",
    ]
    return ", ".join(parts)
