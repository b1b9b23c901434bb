"""Charts: whole SVG documents that hold what they were given, and nothing else."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

from model_zoo.utils.svg import bar_chart, line_chart

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</svg><script>alert("x")</script>&'


def test_bars_are_as_long_as_their_values() -> None:
    chart = ET.fromstring(bar_chart([HOSTILE, "b", "c", "d"], [10.0, -5.0, math.inf, 20.0], "dB", HOSTILE))
    widths = [float(bar.get("width", "")) for bar in chart.iter(f"{SVG}rect")]
    assert math.isclose(widths[0], 2 * widths[1], abs_tol=0.2)
    assert math.isclose(widths[3], 2 * widths[0], abs_tol=0.2)
    assert widths[2] == widths[3]
    assert chart.get("aria-label") == HOSTILE
    assert not list(chart.iter(f"{SVG}script"))
    assert "∞ dB" in [text.text for text in chart.iter(f"{SVG}text")]


def test_lines_break_where_a_value_is_missing() -> None:
    series = {HOSTILE: [1.0, 2.0, math.inf, 4.0], "host CPU": [4.0, 3.0, 2.0, 1.0]}
    chart = ET.fromstring(line_chart(series, ["a", "b", HOSTILE, "d"], "dB", "layers", mark=2))
    lines = [line.get("points", "").split() for line in chart.iter(f"{SVG}polyline")]
    assert [len(points) for points in lines] == [2, 1, 4]
    heights = [float(point.split(",")[1]) for point in lines[2]]
    assert heights == sorted(heights), "a smaller value lies lower"
    (marked,) = [line for line in chart.iter(f"{SVG}line") if line.get("stroke-dasharray")]
    assert marked.get("x1") == lines[2][2].split(",")[0]


def test_nothing_to_draw_is_still_a_chart() -> None:
    assert ET.fromstring(bar_chart([], [], "dB", "empty")).get("aria-label") == "empty"
    assert ET.fromstring(line_chart({}, [], "dB", "empty")).get("aria-label") == "empty"
    assert ET.fromstring(bar_chart(["a"], [0.0], "dB", "zero")).get("aria-label") == "zero"
