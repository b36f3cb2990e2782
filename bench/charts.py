"""Draws line charts as SVG: labels stand at the lines' ends, and colours suit light and dark pages.
Pure."""

import math
from collections.abc import Sequence
from html import escape

import msgspec

PANEL_WIDTH, PANEL_HEIGHT = 270, 300
LEFT, TOP, BOTTOM, LABELS = 54, 46, 52, 190
LABEL_GAP = 16
MARK = 3.5
LIGHT = ("#0072b2", "#0072b2", "#c2410c", "#8a6100", "#00735c", "#a2306f", "#5b3fb5")
DARK = ("#5cb8f5", "#5cb8f5", "#ff9256", "#e8b341", "#3cc9a3", "#ef8fc4", "#b7a3ff")
"""Told apart by colour-blind readers too, by lightness beside hue; marks and labels help."""
STYLE = """
svg {{ --ink: #1f2328; --quiet: #59636e; --grid: #d8dee4; --page: #ffffff; {light} }}
@media (prefers-color-scheme: dark) {{
svg {{ --ink: #e6edf3; --quiet: #9198a1; --grid: #30363d; --page: #0d1117; {dark} }}
}}
text {{ font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink); }}
.title {{ font-size: 14px; font-weight: 600; }}
.tick, .axis {{ fill: var(--quiet); }}
.grid {{ stroke: var(--grid); stroke-width: 1; }}
.line {{ fill: none; stroke-width: 1.75; stroke-linejoin: round; }}
.strong {{ stroke-width: 3.25; }}
.lead {{ stroke-width: 0.75; opacity: 0.6; }}
.bold {{ font-weight: 600; }}
"""


class Line(msgspec.Struct, frozen=True):
    """One line, from left to right. ``colour``: which of the seven; ``strong``: what the chart is
    about; ``dashed``: a part of that."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int
    strong: bool = False
    dashed: bool = False


class Panel(msgspec.Struct, frozen=True):
    """One pair of axes. ``x_ticks``: where x is marked, on a logarithmic axis; ``from_zero``: y is
    linear, otherwise logarithmic."""

    title: str
    x_title: str
    lines: Sequence[Line]
    x_ticks: Sequence[float]
    from_zero: bool = False


def chart(panels: Sequence[Panel]) -> str:
    """Returns the panels side by side, as one SVG file."""
    step = LEFT + PANEL_WIDTH + LABELS
    width, height = step * len(panels), TOP + PANEL_HEIGHT + BOTTOM
    light, dark = (_variables(colours) for colours in (LIGHT, DARK))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        f"<style>{STYLE.format(light=light, dark=dark)}</style>",
        f'<rect width="{width}" height="{height}" fill="var(--page)"/>',
    ]
    for number, panel in enumerate(panels):
        parts.append(f'<g transform="translate({number * step + LEFT} {TOP})">')
        parts += _Drawn(panel).parts()
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def ticks(least: float, greatest: float) -> list[float]:
    """Returns 1, 2 and 5 times the powers of ten that cover the range; the powers alone where it is
    wide."""
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(greatest))
    factors = (1,) if last - first > 3 else (1, 2, 5)
    marks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    low = max((mark for mark in marks if mark <= least), default=marks[0])
    high = min((mark for mark in marks if mark >= greatest), default=marks[-1])
    return [mark for mark in marks if low <= mark <= high]


def spread(wished: Sequence[float], gap: float, end: float) -> list[float]:
    """Returns places as near as possible to those wished for, in their order, ``gap`` apart and not
    beyond ``end``."""
    order = sorted(range(len(wished)), key=lambda at: wished[at])
    placed = [0.0] * len(wished)
    below = -math.inf
    for at in order:
        below = placed[at] = max(wished[at], below + gap)
    above = end + gap
    for at in reversed(order):
        above = placed[at] = min(placed[at], above - gap)
    return placed


class _Drawn:
    """Draws one panel, whose upper left corner is 0, 0."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        ys = [y for line in panel.lines for _, y in line.points]
        if panel.from_zero:
            unit = 0.25 if max(ys) <= 2 else 1.0
            self._marks = [unit * n for n in range(math.ceil(max(ys) / unit) + 1)]
        else:
            self._marks = ticks(min(ys), max(ys))

    def parts(self) -> list[str]:
        panel = self._panel
        drawn = [f'<text class="title" y="-20">{escape(panel.title)}</text>']
        for mark in self._marks:
            y = self._y(mark)
            drawn.append(f'<line class="grid" x2="{PANEL_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
            drawn.append(_text(_short(mark), -8, y + 4, "tick", "end"))
        below = PANEL_HEIGHT + 18
        drawn += [_text(_short(x), self._x(x), below, "tick", "middle") for x in panel.x_ticks]
        middle = PANEL_WIDTH / 2
        drawn.append(_text(panel.x_title, middle, PANEL_HEIGHT + 40, "axis", "middle"))
        ends = [self._y(line.points[-1][1]) for line in panel.lines]
        labels = spread(ends, LABEL_GAP, PANEL_HEIGHT)
        # What the chart is about lies above the rest.
        for line, label in sorted(zip(panel.lines, labels, strict=True), key=_weight):
            drawn += self._line(line, label)
        return drawn

    def _line(self, line: Line, label: float) -> list[str]:
        colour = f"var(--c{line.colour})"
        places = [(self._x(x), self._y(y)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        strong = " strong" if line.strong else ""
        dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
        end_x, end_y = places[-1]
        lead = (
            f'<line class="lead" stroke="{colour}" x1="{end_x + 5:.1f}" y1="{end_y:.1f}" '
            f'x2="{PANEL_WIDTH + 20}" y2="{label:.1f}"/>'
        )
        return [
            f'<polyline class="line{strong}" stroke="{colour}"{dashes} points="{path}"/>',
            *(_mark(line, x, y) for x, y in places),
            lead,
            f'<text class="{"bold" if line.strong else ""}" x="{PANEL_WIDTH + 24}" '
            f'y="{label + 4:.1f}" style="fill: {colour}">{escape(line.label)}</text>',
        ]

    def _x(self, x: float) -> float:
        first, last = math.log(self._panel.x_ticks[0]), math.log(self._panel.x_ticks[-1])
        share = (math.log(x) - first) / (last - first) if last > first else 0.5
        return 8 + share * (PANEL_WIDTH - 16)

    def _y(self, y: float) -> float:
        low, high = self._marks[0], self._marks[-1]
        if not self._panel.from_zero:
            low, high, y = math.log(low), math.log(high), math.log(y)
        share = (y - low) / (high - low) if high > low else 0.5
        return PANEL_HEIGHT * (1 - share)


def _weight(drawn: tuple[Line, float]) -> bool:
    return drawn[0].strong


def _mark(line: Line, x: float, y: float) -> str:
    """Returns a shape of the colour's own: a dot, a square, a diamond, a triangle."""
    colour, r = f"var(--c{line.colour})", MARK
    fill = "var(--page)" if line.dashed else colour
    corners = {
        0: ((-r, -r), (r, -r), (r, r), (-r, r)),
        1: ((0, -r - 1.5), (r + 1.5, 0), (0, r + 1.5), (-r - 1.5, 0)),
        2: ((0, -r - 1), (r + 1, r), (-r - 1, r)),
    }
    if line.colour < 2 or line.colour == 5:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" fill="{fill}" stroke="{colour}"/>'
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners[line.colour % 3])
    return f'<polygon points="{points}" fill="{fill}" stroke="{colour}"/>'


def _text(said: str, x: float, y: float, kind: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(said)}</text>'


def _short(value: float) -> str:
    """Writes 250000 as 250 k, and 0.25 as it is."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _variables(colours: Sequence[str]) -> str:
    return " ".join(f"--c{number}: {colour};" for number, colour in enumerate(colours))
