"""What `results.json` holds, as a page."""

from typing import Any

from benchmarks.tables import markdown, read

WHAT = """\
Written by `python -m benchmarks`; nothing here was changed by hand. Times are medians,
with quartiles in parentheses. The rows of a table were timed in one process, round
after round, in an order that changes; a ratio is the median of the ratios of the
rounds. Above 1, ours is faster, or more accurate. If the quartiles of a ratio lie on
both sides of 1, there is no difference to be seen.
"""


def report(results: dict[str, Any]) -> str:
    found = results["comparisons"].values()
    columns = ["", "ours", "peer", "the peer's", "peer / ours"]
    summary = [row for comparison in found for row in comparison["summary"]]
    tables = [table for comparison in found for table in comparison["tables"]]
    conditions = list(results["conditions"].items())
    return "\n".join(
        [
            "# Measured beside its peers\n",
            WHAT,
            page_table(["", "measured with"], conditions),
            section("In one table", "", columns, summary),
            *(section(**table) for table in tables),
        ]
    )


def section(title: str, text: str, columns: Any, rows: Any) -> str:
    above = f"{text}\n\n" if text else ""
    return f"## {title}\n\n{above}{page_table(columns, rows)}"


def page_table(columns: Any, rows: Any) -> str:
    return markdown(columns, [[read(cell) for cell in row] for row in rows]) + "\n"
