"""Charts as inline SVG: no script, no font and no file of their own; readable on light and on dark pages.

Each function returns an `<svg>` element, in which all text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import groupby, pairwise

import numpy as np

_COLOURS = ("#3b82c4", "#d9822b", "#3a9a5b", "#b04fa8")
_WARN = "#d64545"
_WIDTH = 900.0
#: Ends of the plots of lines and histograms.
_LEFT, _RIGHT = 60.0, _WIDTH - 20
_ROW = 18.0
_LABEL = 330.0
#: Longer labels are cut in the middle; their tooltip has them whole.
_LABEL_CHARACTERS = 46
_STEPS = (1, 2, 2.5, 5, 10)


def bar_chart(labels: Sequence[str], values: Sequence[float], unit: str, title: str) -> str:
    """One horizontal bar for each label, in order; an infinite one is as long as the longest, with ∞ behind it."""
    low, high, _ = _axis(values)
    x, top = _scale(low, high, _LABEL, _WIDTH - 90), 34.0
    parts = []
    for row, (label, value) in enumerate(zip(labels, values, strict=True)):
        y, text = top + row * _ROW, f"{_number(value)} {unit}"
        start, end = sorted((x(0.0), x(value if not math.isnan(value) else 0.0)))
        bar = _tag("rect", x=start, y=y, width=max(end - start, 1.0), height=_ROW - 5, fill=_COLOURS[0])
        texts = _text(_LABEL - 8, y + 11, _short(label), anchor="end") + bar + _text(end + 6, y + 11, text)
        parts.append(_tag("g", _tooltip(f"{label}: {text}") + texts))
    return _svg(top + len(labels) * _ROW + 10, title, parts)


def line_chart(
    series: Mapping[str, Sequence[float]], labels: Sequence[str], unit: str, title: str, mark: int | None = None
) -> str:
    """One line for each series over numbered points, e.g. the layers of a model in order.

    Args:
        series: By name, as many values as labels. Where one is not finite the line has a gap.
        labels: Names of the points, shown as tooltips; the first, the last and the marked one are written out.
        mark: Index of a point to point out.
    """
    low, high, step = _axis([value for values in series.values() for value in values])
    top, bottom = 62.0, 300.0
    x, y = _scale(-0.5, max(len(labels), 1) - 0.5, _LEFT, _RIGHT), _scale(low, high, bottom, top)
    parts = _grid(unit, top, y, [low + index * step for index in range(round((high - low) / step) + 1)])
    for number, (name, values) in enumerate(series.items()):
        colour, left = _COLOURS[number % len(_COLOURS)], _LEFT + 180 * number
        parts.append(_tag("rect", x=left, y=32.0, width=12.0, height=12.0, fill=colour))
        parts.append(_text(left + 18, 42, _short(name, 24)))
        for run in _finite_runs(values):
            points = " ".join(f"{x(index):.1f},{y(values[index]):.1f}" for index in run)
            parts.append(_tag("polyline", points=points, fill="none", stroke=colour, stroke_width="2"))
            for index in run:
                tooltip = _tooltip(f"{labels[index]}, {name}: {_number(values[index])} {unit}")
                parts.append(_tag("circle", tooltip, cx=x(index), cy=y(values[index]), r="3", fill=colour))
    if labels:
        parts += _end_labels(bottom, _short(labels[0]), _short(labels[-1]))
    if mark is not None:
        parts.append(_vertical(x(mark), top, bottom, stroke=_WARN))
        anchor = "start" if mark < len(labels) / 3 else "end" if mark > 2 * len(labels) / 3 else "middle"
        parts.append(_text(x(mark), bottom + 36, _short(labels[mark]), anchor, _WARN))
    return _svg(bottom + 46, title, parts)


def histogram(values: Sequence[float], unit: str, title: str, marks: Mapping[str, float]) -> str:
    """How often each value was seen: vertical bars over a line of values, and marks by name, e.g. percentiles.

    Args:
        values: Finite, at least one. Those beyond three times their median are counted in the last bar.
    """
    ordered = sorted(values)
    low, most = ordered[0], min(ordered[-1], 3 * ordered[len(ordered) // 2])
    high = most if most > low else low + abs(low) * 0.05 + 1e-9
    bins = max(8, min(40, math.isqrt(len(ordered)) * 3))
    numbers, edges = np.histogram(np.minimum(ordered, high), bins, (low, high))
    counts: list[int] = numbers.tolist()
    top, bottom = 76.0, 260.0
    _, tallest, tick = _axis(counts)
    tick = max(1.0, tick)
    more = " and more" if ordered[-1] > high else ""
    x, y = _scale(low, high, _LEFT, _RIGHT), _scale(0, tallest, bottom, top)
    parts = _grid("runs", top, y, [index * tick for index in range(int(tallest / tick) + 1)])
    for count, (begin, end) in zip(counts, pairwise(edges.tolist()), strict=True):
        beyond = more if end == edges[-1] else ""
        tooltip = _tooltip(f"{_number(begin)} to {_number(end)} {unit}{beyond}: {count}")
        size = {"width": max(x(end) - x(begin) - 2, 1.0), "height": bottom - y(count)}
        parts.append(_tag("rect", tooltip, x=x(begin) + 1, y=y(count), **size, fill=_COLOURS[0]))
    for number, (name, value) in enumerate(sorted(marks.items(), key=lambda mark: mark[1])):
        parts.append(_vertical(x(value), top - 6, bottom, stroke=_COLOURS[1], stroke_width="2"))
        anchor = "end" if x(value) > _RIGHT - 150 else "start"
        label = f"{name} {_number(value)} {unit}"
        parts.append(_text(x(value), top - 12 - 14 * (number % 3), label, anchor, _COLOURS[1]))
    parts += _end_labels(bottom, f"{_number(low)} {unit}", f"{_number(high)} {unit}{more}")
    return _svg(bottom + 30, title, parts)


def _axis(values: Sequence[float]) -> tuple[float, float, float]:
    """Round ends that hold zero and all finite values, and the step between about five marks."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(0.0, *finite, 0.0), max(0.0, *finite, 0.0)
    raw = (high - low or 1.0) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step * power for step in _STEPS if step * power >= raw * (1 - 1e-9))
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return low, max(high, low + step), step


def _scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    """The position of each value between two ends; what is beyond them is drawn at them."""
    return lambda value: begin + (min(max(value, low), high) - low) / (high - low) * (end - begin)


def _finite_runs(values: Sequence[float]) -> list[list[int]]:
    """Indices of finite values, neighbours together."""
    runs = groupby(range(len(values)), lambda index: math.isfinite(values[index]))
    return [list(run) for finite, run in runs if finite]


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return "-" if math.isnan(value) else f"{value:.4g}"


def _short(text: str, most: int = _LABEL_CHARACTERS) -> str:
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def _tag(tag: str, inner: str = "", **attributes: str | float) -> str:
    """An element; numbers have one decimal."""
    texts = {key: value if isinstance(value, str) else f"{value:.1f}" for key, value in attributes.items()}
    pairs = "".join(f' {key.replace("_", "-")}="{escape(text)}"' for key, text in texts.items())
    return f"<{tag}{pairs}>{inner}</{tag}>"


def _tooltip(text: str) -> str:
    return _tag("title", escape(text))


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "currentColor") -> str:
    return _tag("text", escape(text), x=x, y=y, text_anchor=anchor, fill=colour)


def _vertical(x: float, top: float, bottom: float, **stroke: str) -> str:
    return _tag("line", x1=x, x2=x, y1=top, y2=bottom, **stroke, stroke_dasharray="5 4")


def _grid(unit: str, top: float, y: Callable[[float], float], levels: Sequence[float]) -> list[str]:
    """A line for each level, and the unit above them."""
    ends, stroke = {"x1": _LEFT, "x2": _RIGHT}, {"stroke": "currentColor", "opacity": "0.2"}
    lines = [_tag("line", "", **ends, y1=y(level), y2=y(level), **stroke) for level in levels]
    numbers = [_text(_LEFT - 6, y(level) + 4, f"{level:g}", anchor="end") for level in levels]
    return [_text(_LEFT - 6, top - 12, unit, anchor="end"), *lines, *numbers]


def _end_labels(bottom: float, first: str, last: str) -> list[str]:
    return [_text(_LEFT, bottom + 18, first), _text(_RIGHT, bottom + 18, last, anchor="end")]


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    heading = _tag("text", escape(title), x="0", y="16", font_size="15", font_weight="bold", fill="currentColor")
    view = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {_WIDTH:.0f} {height:.0f}", "width": "100%"}
    style = {"style": f"max-width:{_WIDTH:.0f}px", "font_family": "sans-serif", "font_size": "12", "role": "img"}
    return _tag("svg", heading + "".join(parts), **view, **style, aria_label=title)
