"""Bar charts as SVG, readable on a light page and on a dark one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

__all__ = ["Bar", "bar_chart"]

_WIDTH: Final = 760
_LABELS: Final = 190
_VALUES: Final = 130
_LINE: Final = 26
_TOP: Final = 56
_STYLE: Final = """
    .card { fill: #ffffff; } .text { fill: #24292f; } .soft { fill: #57606a; }
    .bar { fill: #8c959f; } .ours { fill: #0969da; } .spread { stroke: #24292f; }
    @media (prefers-color-scheme: dark) {
      .card { fill: #161b22; } .text { fill: #e6edf3; } .soft { fill: #9da7b3; }
      .bar { fill: #6e7681; } .ours { fill: #4493f8; } .spread { stroke: #e6edf3; }
    }
    text { font: 13px system-ui, sans-serif; } .title { font-weight: 600; font-size: 15px; }"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: a value, with the least and the greatest of its rounds."""

    label: str
    value: float
    least: float
    greatest: float
    text: str
    ours: bool


def bar_chart(title: str, axis: str, bars: Sequence[Bar]) -> str:
    """An SVG with a bar for each value and a line for its spread.

    Args:
        axis: the unit, and whether more or less is better.
    """
    room = _WIDTH - _LABELS - _VALUES
    most = max(bar.greatest for bar in bars) or 1.0
    height = _TOP + _LINE * len(bars) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"  <title>{escape(title)}</title>",
        f"  <style>{_STYLE}\n  </style>",
        f'  <rect class="card" width="{_WIDTH}" height="{height}" rx="6"/>',
        f'  <text class="text title" x="16" y="24">{escape(title)}</text>',
        f'  <text class="soft" x="16" y="42">{escape(axis)}</text>',
    ]
    for number, bar in enumerate(bars):
        top = _TOP + number * _LINE
        middle = top + 9
        kind = "ours" if bar.ours else "bar"
        end = _LABELS + bar.value / most * room
        width = max(1.0, end - _LABELS)
        left, right = (_LABELS + value / most * room for value in (bar.least, bar.greatest))
        parts += [
            f'  <text class="text" x="{_LABELS - 8}" y="{top + 14}" text-anchor="end">{escape(bar.label)}</text>',
            f'  <rect class="{kind}" x="{_LABELS}" y="{top}" width="{width:.1f}" height="18" rx="2"/>',
            f'  <line class="spread" x1="{left:.1f}" x2="{right:.1f}" y1="{middle}" y2="{middle}"/>',
            f'  <text class="text" x="{max(end, right) + 8:.1f}" y="{top + 14}">{escape(bar.text)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
