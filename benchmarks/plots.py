# SPDX-License-Identifier: Apache-2.0
"""Growth as pictures: what was measured against how much there was, a file for each plot."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter

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
        for line, figures in lines.items():
            sizes = [figure.point.size for figure in figures if figure.point]
            [drawn] = axes.plot(sizes, [figure.median for figure in figures], marker="o", markersize=3, label=line)
            least, most = ([choose(figure.values) for figure in figures] for choose in (min, max))
            axes.fill_between(sizes, least, most, alpha=0.15, color=drawn.get_color(), linewidth=0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
        unit = next(iter(lines.values()))[0].unit
        axes.set_title(f"{name}, {unit}", loc="left")
        axes.set_xlabel("talkers" if "talkers" in name else "prefixes")
        axes.legend(frameon=False)
        canvas.savefig(path, metadata={"Date": None})
    return path


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
