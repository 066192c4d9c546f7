# SPDX-License-Identifier: Apache-2.0
"""Growth as pictures: what was measured against how much there was, a file for each plot."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.figures import Figure

STYLE = {
    "svg.fonttype": "none",  # text stays text: small files, and the reader's own fonts
    "svg.hashsalt": "xdpfw",  # the same picture from the same figures
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}

FEW_DECADES = 100
"""Upwards, within which not only powers of ten are written."""


def draw(figures: Iterable[Figure], directory: Path) -> list[Path]:
    """Medians as lines, from the least to the most as shades, both axes logarithmic."""
    directory.mkdir(parents=True, exist_ok=True)
    plots: dict[str, dict[str, list[Figure]]] = {}
    for figure in figures:
        if figure.point and figure.point.size and min(figure.values, default=0) > 0:
            lines = plots.setdefault(figure.point.plot, {})
            lines.setdefault(figure.point.line, []).append(figure)
    return [_plot(name, lines, directory / f"{_slug(name)}.svg") for name, lines in plots.items()]


def _plot(name: str, lines: dict[str, list[Figure]], path: Path) -> Path:
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(5.2, 3.1), layout="constrained")
        axes = canvas.subplots()
        for line, unsorted in lines.items():
            figures = sorted(unsorted, key=_size)
            sizes = [figure.point.size for figure in figures if figure.point]
            [drawn] = axes.plot(sizes, [figure.median for figure in figures], marker="o", markersize=3, label=line)
            least, most = ([choose(figure.values) for figure in figures] for choose in (min, max))
            axes.fill_between(sizes, least, most, alpha=0.15, color=drawn.get_color(), linewidth=0)
        _scale(axes)
        unit = next(iter(lines.values()))[0].unit
        axes.set_title(f"{name}, {unit}", loc="left")
        axes.set_xlabel("talkers" if "talkers" in name else "prefixes")
        axes.legend(frameon=False)
        canvas.savefig(path, metadata={"Date": None})
    return path


def _size(figure: Figure) -> int:
    return figure.point.size if figure.point else 0


def _scale(axes: Axes) -> None:
    """Both axes logarithmic; upwards a decade at least, so that what hardly grows looks like it."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    wider = max(1.0, math.sqrt(10 * low / high))
    axes.set_ylim(low / wider, high * wider)
    if high / low < FEW_DECADES:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
