"""A timeline as SVG, for light pages and dark ones: bars for each second, and a lane for each kind of fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape

__all__ = ["timeline"]

_WIDTH: Final = 760
_LEFT: Final = 178
_RIGHT: Final = 16
_BARS_TOP: Final = 76
_BARS: Final = 110
_LANE: Final = 22
_STYLE: Final = """
    .card { fill: #ffffff; } .text { fill: #24292f; } .soft { fill: #57606a; } .line { stroke: #d0d7de; }
    .whole { fill: #0969da; } .broken { fill: #8c959f; } .refused { fill: #bc4c00; } .fault { fill: #cf222e; }
    @media (prefers-color-scheme: dark) {
      .card { fill: #161b22; } .text { fill: #e6edf3; } .soft { fill: #9da7b3; } .line { stroke: #30363d; }
      .whole { fill: #4493f8; } .broken { fill: #6e7681; } .refused { fill: #f0883e; } .fault { fill: #ff7b72; }
    }
    text { font: 13px system-ui, sans-serif; } .title { font-weight: 600; font-size: 15px; }"""
_KINDS: Final = (("whole", "ended whole"), ("broken", "connection broken"), ("refused", "refused, or no answer"))


def timeline(title: str, bars: Sequence[tuple[int, int, int]], lanes: Mapping[str, Sequence[float]]) -> str:
    """An SVG with a stacked bar for each second, and a dot for each moment of each lane.

    Args:
        bars: for each second the numbers of responses that ended whole, broken and refused.
        lanes: the moments, in seconds, by the lane's name.
    """
    seconds = max(len(bars), 1)
    step = (_WIDTH - _LEFT - _RIGHT) / seconds
    most = max((sum(bar) for bar in bars), default=0) or 1
    lanes_top = _BARS_TOP + _BARS + 34
    height = lanes_top + _LANE * len(lanes) + 12
    bottom = _BARS_TOP + _BARS
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"  <title>{escape(title)}</title>",
        f"  <style>{_STYLE}\n  </style>",
        f'  <rect class="card" width="{_WIDTH}" height="{height}" rx="6"/>',
        f'  <text class="text title" x="16" y="24">{escape(title)}</text>',
        f'  <text class="soft" x="16" y="{_BARS_TOP + 14}">responses that</text>',
        f'  <text class="soft" x="16" y="{_BARS_TOP + 32}">ended, a second</text>',
        f'  <text class="soft" x="{_LEFT - 8}" y="{_BARS_TOP + 8}" text-anchor="end">{most}</text>',
        f'  <line class="line" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>',
    ]
    for number, (kind, words) in enumerate(_KINDS):
        left = 16 + number * 190
        parts += [
            f'  <rect class="{kind}" x="{left}" y="40" width="12" height="12" rx="2"/>',
            f'  <text class="text" x="{left + 18}" y="51">{words}</text>',
        ]
    for second, bar in enumerate(bars):
        top = float(bottom)
        for (kind, _), count in zip(_KINDS, bar, strict=True):
            tall = count / most * _BARS
            top -= tall
            if count:
                parts.append(
                    f'  <rect class="{kind}" x="{_LEFT + second * step:.1f}" y="{top:.1f}" '
                    f'width="{step * 0.8:.1f}" height="{tall:.1f}"/>'
                )
    for tick in range(0, seconds + 1, 10):
        parts.append(
            f'  <text class="soft" x="{_LEFT + tick * step:.1f}" y="{bottom + 18}" text-anchor="middle">{tick} s</text>'
        )
    for number, (lane, moments) in enumerate(lanes.items()):
        middle = lanes_top + number * _LANE + 9
        parts += [
            f'  <text class="text" x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(lane)}</text>',
            f'  <line class="line" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{middle}" y2="{middle}"/>',
            *(f'  <circle class="fault" cx="{_LEFT + at * step:.1f}" cy="{middle}" r="5"/>' for at in moments),
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
