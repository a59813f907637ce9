"""Plots of the results, where matplotlib is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from benchmarks._catalogue import WORKS, find_case
from benchmarks._results import Measurement, Results
from benchmarks._statistics import Spread, spread_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PlotsUnavailableError", "draw_plots"]

_QUANTILES = ("p50", "p90", "p99", "p999")


class PlotsUnavailableError(RuntimeError):
    """matplotlib is not installed."""


def draw_plots(results: Results, folder: Path, kind: str) -> list[Path]:
    """Draw what there are figures for into ``folder``, and return the files.

    Args:
        results: to draw.
        folder: that exists.
        kind: ``"svg"`` or ``"png"``.

    Raises:
        PlotsUnavailableError: matplotlib is not installed.
        OSError: a file cannot be written.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - takes half a second to import, and may be missing
    except ImportError:
        raise PlotsUnavailableError("no plots: matplotlib is not installed") from None
    plots: dict[str, list[Callable[[Results, Axes], bool]]] = {
        "throughput": [_message_rates],
        "calls": [_call_rates],
        "latency": [_quantiles, _ramp],
        "size": [_stops, _memory, _opens, _idle],
    }
    files = []
    for name, panels in plots.items():
        figure = Figure(figsize=(7 * min(2, len(panels)), 4.5 * ((len(panels) + 1) // 2)), layout="constrained")
        axes = [figure.add_subplot((len(panels) + 1) // 2, min(2, len(panels)), i + 1) for i in range(len(panels))]
        drawn = [panel(results, each) for panel, each in zip(panels, axes, strict=True)]
        if not any(drawn):
            continue
        for each, has_data in zip(axes, drawn, strict=True):
            if not has_data:
                figure.delaxes(each)
        figure.suptitle(f"{results.date}, {results.git.get('commit', '') or 'no commit'}"[:40], fontsize="small")
        path = folder / f"{name}.{kind}"
        figure.savefig(path)
        files.append(path)
    return files


def _spread(results: Results, key: str) -> Spread | None:
    return spread_of(list(results.values(key).values()))


def _bars(results: Results, axes: Axes, works: tuple[str, ...], title: str) -> bool:
    """The rate of every case, with the range of its rounds."""
    found = []
    for work in works:
        for case in WORKS[work].cases:
            key = f"{work}/{case.name}"
            spread = _spread(results, f"{key}:rate")
            if spread is not None:
                found.append((key, spread))
    if not found:
        return False
    medians = [spread.median for _, spread in found]
    errors = [[s.median - s.lowest for _, s in found], [s.highest - s.median for _, s in found]]
    axes.barh([key for key, _ in found], medians, xerr=errors, color="tab:blue", ecolor="tab:gray")
    axes.invert_yaxis()
    axes.set_title(title)
    axes.ticklabel_format(axis="x", style="plain")
    return True


def _message_rates(results: Results, axes: Axes) -> bool:
    works = ("floor", "relay", "relay-bare", "slow-relayers", "sustained")
    # The raw calls of the floor are no messages.
    only = [each for each in results.measurements if "echo_busy" in each.values]
    return _bars(_with(results, only), axes, works, "messages a second, there and back")


def _call_rates(results: Results, axes: Axes) -> bool:
    only = [each for each in results.measurements if "node_ceiling" in each.values]
    return _bars(_with(results, only), axes, ("floor", "rest"), "REST calls a second")


def _with(results: Results, measurements: list[Measurement]) -> Results:
    return attrs.evolve(results, measurements=measurements)


def _quantiles(results: Results, axes: Axes) -> bool:
    drawn = False
    for work in ("relay", "relay-bare", "slow-relayers", "sustained"):
        for case in WORKS[work].cases:
            spreads = [_spread(results, f"{work}/{case.name}:{name}") for name in _QUANTILES]
            points = [(name, s.median) for name, s in zip(_QUANTILES, spreads, strict=True) if s is not None]
            if points:
                axes.plot(
                    [name for name, _ in points], [value for _, value in points], "o-", label=f"{work}/{case.name}"
                )
                drawn = True
    if drawn:
        axes.set_yscale("log")
        axes.set_ylabel("ms")
        axes.set_title("round trips (sustained: since due)")
        axes.legend(fontsize="small")
    return drawn


def _ramp(results: Results, axes: Axes) -> bool:
    series = [points for each in results.measurements for name, points in each.series.items() if name == "ramp"]
    for number, points in enumerate(series):
        complete = [point for point in points if "p50" in point and "p99" in point]
        for name, style in (("p50", "o-"), ("p99", "^--")):
            label = name if number == 0 else None
            color = "tab:blue" if name == "p50" else "tab:orange"
            axes.plot([p["offered"] for p in complete], [p[name] for p in complete], style, color=color, label=label)
    if series:
        axes.set_yscale("log")
        axes.set_xlabel("messages a second offered")
        axes.set_ylabel("ms since due")
        axes.set_title("ramp: later and later")
        axes.legend()
    return bool(series)


def _by_size(results: Results, axes: Axes, work: str, prefix: str, figure: str, label: str) -> bool:
    points = []
    for case in WORKS[work].cases:
        size = case.name.removeprefix(prefix)
        spread = _spread(results, f"{work}/{case.name}:{figure}") if size.isdigit() else None
        if spread is not None:
            points.append((int(size), spread))
    if not points:
        return False
    errors = [[s.median - s.lowest for _, s in points], [s.highest - s.median for _, s in points]]
    axes.errorbar([size for size, _ in points], [s.median for _, s in points], errors, fmt="o-", label=label)
    axes.set_xscale("log")
    axes.set_xlabel("sessions")
    return True


def _stops(results: Results, axes: Axes) -> bool:
    drawn = [_by_size(results, axes, "stop", f"{kind}-", "stop", kind) for kind in ("dedicated", "range", "shared")]
    if any(drawn):
        axes.set_yscale("log")
        axes.set_ylabel("s")
        axes.set_title("stop")
        axes.legend()
    return any(drawn)


def _scaled(results: Results, axes: Axes, figure: str, unit: str) -> bool:
    drawn = _by_size(results, axes, "scale", "", figure, figure)
    axes.set_title(f"scale: {find_case('scale/100').figures[figure].title}")
    axes.set_ylabel(unit)
    axes.margins(y=0.1)
    axes.set_ylim(bottom=0)
    return drawn


def _memory(results: Results, axes: Axes) -> bool:
    return _scaled(results, axes, "memory", "KiB a session")


def _opens(results: Results, axes: Axes) -> bool:
    return _scaled(results, axes, "open_rate", "sessions a second")


def _idle(results: Results, axes: Axes) -> bool:
    return _scaled(results, axes, "idle", "share of a core")
