"""Makes the pages about performance from the record that is kept beside them: `python -m benchmarks.pages`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .capacity import as_capacity
from .charts import Bar, bar_chart
from .comparison import as_comparison
from .contenders import contenders
from .metrics import FIRST_P99, IDLE, LATENCY_P50, RATE, SERVER, STREAM_TOTAL, TOTAL, WHOLE_P50, Metric, Row
from .plan import Kind
from .recording import Record, load
from .report import as_markdown, number
from .rounds import CellResult

__all__ = ["DOCS", "PAGES", "RECORD", "pages_of", "replaced", "write_pages"]

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
RECORD: Final = Path("assets/performance/record.json")
"""Where the record of the pages is, below the documentation's directory."""
PAGES: Final = (Path("explanation/performance.md"), Path("explanation/capacity.md"), Path("index.md"))
"""The pages that have a made part."""
_BEGIN: Final = "<!-- benchmarks: begin -->"
_END: Final = "<!-- benchmarks: end -->"
_CHARTED: Final[dict[Kind, tuple[Metric, str]]] = {
    Kind.ONE_BY_ONE: (RATE, "events a second: more is better"),
    Kind.TOGETHER: (RATE, "events a second: more is better"),
    Kind.PACED: (TOTAL, "CPU of server and Redis, µs an event: less is better"),
    Kind.VIEWERS: (SERVER, "CPU of the server, µs a delivered event: less is better"),
    Kind.REPLAY: (WHOLE_P50, "median time of a whole response, ms: less is better"),
    Kind.STORM: (FIRST_P99, "time to the first event of a reconnect, p99, ms: less is better"),
    Kind.IDLE: (IDLE, "memory of the server, KiB a stream: less is better"),
    Kind.BROWSER: (LATENCY_P50, "median latency to the page, ms: less is better"),
}


def pages_of(record: Record, pages: dict[Path, str]) -> dict[Path, str]:
    """All files that are made from a record, by their paths below the documentation's directory.

    Args:
        pages: the texts of the pages as they are, with markers between which the made parts go.
    """
    charts = dict(_charts(record))
    cell_charts = {path.stem: f"../{path}" for path in charts}
    return {
        Path("explanation/performance.md"): replaced(
            pages[Path("explanation/performance.md")], as_markdown(record, cell_charts.get)
        ),
        Path("explanation/capacity.md"): replaced(pages[Path("explanation/capacity.md")], as_capacity(record)),
        Path("index.md"): replaced(pages[Path("index.md")], as_comparison(record)),
        **charts,
    }


def write_pages(docs: Path = DOCS) -> None:
    """Make the pages of `docs` from its record."""
    pages = {name: (docs / name).read_text() for name in PAGES}
    for path, text in pages_of(load(docs / RECORD), pages).items():
        (docs / path).write_text(text)


def _charts(record: Record) -> Iterator[tuple[Path, str]]:
    rows = {(row.cell, row.metric): row for row in record.rows}
    for result in record.cells:
        if result.cell.kind not in _CHARTED:
            continue
        metric, axis = _CHARTED[result.cell.kind]
        if result.cell.kind is Kind.PACED and result.cell.events == 1:
            metric, axis = STREAM_TOTAL, "CPU of server and Redis, µs a stream: less is better"
        row = rows.get((result.cell.name, metric.name))
        if row is not None and row.figures:
            yield RECORD.parent / f"{result.cell.name}.svg", _chart(result, row, axis)


def _chart(result: CellResult, row: Row, axis: str) -> str:
    ours = {name for name in row.figures if _is_ours(name)}
    bars = [
        Bar(name, figure.median, figure.least, figure.greatest, number(figure.median, row.digits), name in ours)
        for name, figure in row.figures.items()
    ]
    return bar_chart(result.cell.title, axis, bars)


def _is_ours(name: str) -> bool:
    known = contenders().get(name)
    return known is not None and known.ours


def replaced(page: str, made: str) -> str:
    """`page` with `made` between its markers.

    Raises:
        ValueError: the page does not hold each marker exactly once, and in order.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end or _BEGIN in after or _END in after:
        raise ValueError(f"the page needs one {_BEGIN} and one {_END} after it")
    return f"{before}{begin}\n\n{made}\n{end}{after}"


if __name__ == "__main__":
    write_pages()
