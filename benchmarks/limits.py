"""Every cost that has a limit, beside the cost of a peer.

`python -m benchmarks.limits` measures and prints these two tables alone.
"""

import argparse

from benchmarks import optimizer, program
from benchmarks.report import section
from benchmarks.tables import Comparison, Table


def compared(rounds: int) -> Comparison:
    sizes = optimizer.more_fusions()
    times = program.rows(rounds) + optimizer.tiny_steps(rounds)
    return Comparison(
        [
            Table(
                "Times that have a limit",
                "CPU time of the process. Compiling starts with all caches cleared. "
                "It includes building the schedule, but the edits are made before the "
                "clock starts. The tiny step is AdamW on two arrays of a few numbers.",
                ["", "ours", "peer", "its time", "ours over it", "at most"],
                times,
            ),
            Table(
                "Fusions that have a limit",
                "Of an AdamW step with four parameters whose learning rate follows the "
                "schedule. Optax's step has its cosine, closed over or in the state "
                "(`inject_hyperparams`). Kernels are fusions and copies.",
                ["", "fusions", "kernels", "Optax", "kernels", "more", "at most"],
                sizes,
            ),
        ],
        [],
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits")
    parser.add_argument("--rounds", type=int, default=15, help="(default: %(default)s)")
    for table in compared(parser.parse_args().rounds).tables:
        print(section(table.title, table.text, table.columns, table.rows))


if __name__ == "__main__":
    main()
