"""Finds red cells around the white one: what is pale and round.

Flow: takes how much green light a small frame takes; gives the diameters of circles.
"""

import numpy as np

from bloodkeras.named_types import Flags, Floats

ROUND = 0.08  # of the radius that an outline may be off a circle, root mean square
SECTORS, COVERED = 24, 0.5  # of a circle, and the share of them that an outline must pass through
LEAST_OUTLINE = 16  # pixels
LARGEST = 0.7  # of the shorter side that a red cell may span
FAINT = 0.05  # of green light, natural logarithm: what takes less is background
DEEPEST = 0.6  # that counts


def red_cell_diameters(green: Floats, nuclei: Flags) -> list[float]:
    """Return the diameters of what is round and pale, in pixels; the frame may cut it.

    Args:
        green: (H, W), how much green light is taken, natural logarithm.
        nuclei: (H, W).
    """
    pale = green[~nuclei].clip(0, DEEPEST)
    cut = _two_heaps(pale) if pale.size else 0.0
    if cut < FAINT:
        return []
    holes = _components(green <= cut)
    edge = np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])
    cells = _components((green > cut) | ((holes > 0) & ~np.isin(holes, edge)))
    area = np.bincount(cells.ravel())
    dark = np.bincount(cells.ravel(), nuclei.ravel())
    inner = cells[1:-1, 1:-1]
    beside = (cells[:-2, 1:-1], cells[2:, 1:-1], cells[1:-1, :-2], cells[1:-1, 2:])
    rows, columns = np.nonzero((inner > 0) & np.any([inner != other for other in beside], 0))
    names = inner[rows, columns]
    order = np.argsort(names, kind="stable")
    spans = []
    for places in np.split(order, np.nonzero(np.diff(names[order]))[0] + 1):
        if len(places) >= LEAST_OUTLINE and dark[names[places[0]]] < 0.1 * area[names[places[0]]]:
            span = _circle(columns[places], rows[places])
            if 0 < span < LARGEST * min(green.shape):
                spans.append(span)
    return spans


def _circle(x: np.ndarray, y: np.ndarray) -> float:
    """Return the diameter of the circle that an outline is a good part of; 0 where it is none."""
    x, y = x - x.mean(), y - y.mean()
    rows = np.stack([x, y, np.ones(len(x))], 1)
    across, down, rest = np.linalg.lstsq(rows, x**2 + y**2, rcond=None)[0]
    radius = np.sqrt(max(rest + (across**2 + down**2) / 4, 1e-9))
    x, y = x - across / 2, y - down / 2
    off = np.sqrt(((np.hypot(x, y) - radius) ** 2).mean())
    sectors = np.unique(np.floor(np.arctan2(y, x) / (2 * np.pi) * SECTORS))
    good = off < ROUND * radius and len(sectors) >= COVERED * SECTORS
    return float(2 * radius + 1) if good else 0.0  # the outline runs through its pixels' middles


def _two_heaps(values: Floats) -> float:
    """Return where values part best in two (Otsu 1979, doi:10.1109/TSMC.1979.4310076)."""
    counts, edges = np.histogram(values, 64)
    middles = (edges[1:] + edges[:-1]) / 2
    below, sums = counts.cumsum()[:-1], (counts * middles).cumsum()
    above = counts.sum() - below
    apart = (sums[-1] * below / counts.sum() - sums[:-1]) ** 2 / (below * above).clip(1)
    return float(middles[apart.argmax()])


def _components(mask: Flags) -> np.ndarray:
    """Return the number of the connected part that each pixel belongs to, int (H, W); 0 outside.

    Runs of pixels are joined where they touch those of the row above.
    """
    height, width = mask.shape
    steps = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    (rows, starts), ends = np.nonzero(steps == 1), np.nonzero(steps == -1)[1]
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    first = np.searchsorted(rows, np.arange(height + 1)).tolist()
    begin, end = starts.tolist(), ends.tolist()
    for row in range(1, height):
        above, here = first[row - 1], first[row]
        while above < first[row] and here < first[row + 1]:
            if begin[above] < end[here] and begin[here] < end[above]:
                one, other = sorted((root(above), root(here)))
                parents[other] = one
            if end[above] < end[here]:
                above += 1
            else:
                here += 1
    names = np.array([root(run) + 1 for run in range(len(rows))], int)
    changes = np.zeros((height, width + 1), int)
    np.add.at(changes, (rows, starts), names)
    np.add.at(changes, (rows, ends), -names)
    found: np.ndarray = changes.cumsum(1)[:, :width]
    return found
