"""Run every comparison, print the tables and write them down."""

import argparse
import dataclasses
import json
import pathlib
from typing import Any

from tqdm import tqdm

from benchmarks import pictures
from benchmarks.processes import alone
from benchmarks.report import report

COMPARISONS = (
    "accuracy",
    "calls",
    "compiling",
    "training_step",
    "population",
    "importing",
    "growth",
    "limits",
)
HERE = pathlib.Path(__file__).parent


def compared(rounds: int) -> dict[str, Any]:
    found = {}
    with tqdm(COMPARISONS, unit="comparison", dynamic_ncols=True) as bar:
        for name in bar:
            bar.set_description(f"{name:<13}")
            comparison = alone(f"benchmarks.{name}", "compared", rounds)
            found[name] = dataclasses.asdict(comparison)
    return found


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rounds",
        type=int,
        default=15,
        help="how often each time is taken (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=HERE,
        help="folder for RESULTS.md, results.json and pictures (default: benchmarks/)",
    )
    return parser.parse_args()


def main() -> None:
    chosen = options()
    chosen.out.mkdir(parents=True, exist_ok=True)
    where = alone("benchmarks.conditions", "found") | {"rounds": chosen.rounds}
    results = {"conditions": where, "comparisons": compared(chosen.rounds)}
    (chosen.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (chosen.out / "RESULTS.md").write_text(report(results))
    pictures.draw(results["comparisons"], chosen.out)
    print(report(results))


if __name__ == "__main__":
    main()
