"""What `import optax_cosine` adds to `import optax`."""

import os
import subprocess
import sys
import tempfile

from benchmarks import tables
from benchmarks.tables import Comparison, Table

PROGRAM = """
import time
start = time.perf_counter(); import optax
middle = time.perf_counter(); import optax_cosine
end = time.perf_counter(); print(middle - start, end - middle)
"""


def seconds(bytecode: str) -> tuple[float, float]:
    """Both with their bytecode at hand, as `pip` leaves what it installs."""
    writable = {k: x for k, x in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    printed = subprocess.run(
        [sys.executable, "-X", f"pycache_prefix={bytecode}", "-c", PROGRAM],
        env=writable,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    optax, ours = map(float, printed.split())
    return optax, ours


def compared(rounds: int) -> Comparison:
    with tempfile.TemporaryDirectory() as bytecode:
        seconds(bytecode)  # which compiles everything
        samples = [seconds(bytecode) for _ in range(2 * rounds)]
    optax, ours = zip(*samples, strict=True)
    share = tables.ratio(ours, optax)
    return Comparison(
        [
            Table(
                "Importing",
                "In a fresh process, one after the other, from bytecode.",
                ["", "time", "of `import optax`"],
                [
                    ["import optax", tables.time(optax), None],
                    ["then import optax_cosine", tables.time(ours), share],
                ],
            )
        ],
        [],
    )
