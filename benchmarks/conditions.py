"""On what the figures were taken."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
from typing import Any

import jax

PACKAGES = "optax-cosine", "jax", "jaxlib", "optax", "keras", "torch", "timm", "numpy"


def found() -> dict[str, Any]:
    present = {x.name.lower(): x.version for x in importlib.metadata.distributions()}
    versions = [f"{name} {present[name]}" for name in PACKAGES if name in present]
    return {
        "date": datetime.date.today().isoformat(),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "JAX's devices": f"{len(jax.devices())}, {jax.devices()[0].device_kind}",
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "packages": ", ".join(versions),
    }


def processor() -> str:
    listed = pathlib.Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
