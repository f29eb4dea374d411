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
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
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
