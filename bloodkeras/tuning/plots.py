"""Draws what a search tried and what mattered.

Flow: takes the rows of the leaderboard; gives parallel_coordinates.png and importance.png.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

from bloodkeras.evaluation.figures import BLUE, save_figure
from bloodkeras.named_types import Floats, Json
from bloodkeras.tuning.plan import Plan
from bloodkeras.tuning.search_space import SPACE, Range

TREES, SHUFFLES = 100, 10
ENOUGH = 5  # completed trials: below, there is nothing to fit


def draw(found: list[Json], plan: Plan, folder: Path, synthetic: bool) -> list[Path]:
    """Draw both figures of the completed trials; none where there are too few."""
    done = [row for row in found if row["status"] == "completed"]
    names = [name for name in SPACE if len({row[name] for row in done}) > 1]
    if len(done) < ENOUGH or not names:
        return []
    paths = [folder / "parallel_coordinates.png", folder / "importance.png"]
    parallel_coordinates(done, names, plan, paths[0], synthetic)
    importance(done, names, plan, paths[1], synthetic)
    return paths


def parallel_coordinates(
    done: list[Json], names: list[str], plan: Plan, path: Path, synthetic: bool
) -> None:
    """Draw a line for each trial through an axis for each field, coloured by its score."""
    scores = np.array([row[plan.objective] for row in done])
    columns = [_column(done, name) for name in names]
    colours = plt.colormaps["viridis"]
    norm = Normalize(scores.min(), scores.max())
    figure, axis = plt.subplots(figsize=(max(8, 1.1 * len(names)), 5.5))
    for index in np.argsort(scores if plan.objective != "val_loss" else -scores):
        heights = [heights[index] for heights, _ in columns]
        axis.plot(range(len(names)), heights, color=colours(norm(scores[index])), alpha=0.8)
    for place, (_, ticks) in enumerate(columns):
        axis.axvline(place, color="lightgrey", zorder=0)
        for height, label in ticks:
            axis.text(place, height, f" {label}", fontsize=8, va="center")
    labels = [name.split("_", 1)[1].replace("_", "\n") for name in names]
    axis.set_xticks(range(len(names)), labels, fontsize=9)
    axis.set(yticks=[], ylim=(-0.06, 1.06))
    axis.set_title(f"{plan.start.model_name}: {len(done)} completed trials, {plan.strategy}")
    figure.colorbar(plt.cm.ScalarMappable(norm, colours), ax=axis, label=plan.objective, pad=0.01)
    axis.spines["left"].set_visible(False)
    save_figure(figure, [], path, synthetic)


def importance(done: list[Json], names: list[str], plan: Plan, path: Path, synthetic: bool) -> None:
    """Draw how much worse a random forest predicts the score when a field is shuffled."""
    features = [*names, "epochs"]  # how long a trial was trained explains much under hyperband
    table = np.array([_column(done, name)[0] for name in features]).T
    scores = np.array([row[plan.objective] for row in done])
    forest = RandomForestRegressor(TREES, random_state=0).fit(table, scores)
    found = permutation_importance(forest, table, scores, n_repeats=SHUFFLES, random_state=0)
    order = np.argsort(found.importances_mean)
    labels = [features[k].split("_", 1)[-1].replace("_", " ") for k in order]
    colours = ["lightgrey" if features[k] == "epochs" else BLUE for k in order]
    figure, axis = plt.subplots(figsize=(7.5, 0.32 * len(features) + 1.5))
    axis.barh(
        labels, found.importances_mean[order], xerr=found.importances_std[order], color=colours
    )
    axis.set_xlabel(f"fall of R² of {plan.objective} when the field is shuffled")
    axis.set_title(f"a random forest over {len(done)} trials: a hint, not a proof", fontsize=10)
    save_figure(figure, [], path, synthetic)


def _column(done: list[Json], name: str) -> tuple[Floats, list[tuple[float, str]]]:
    """Return a field's values as heights 0..1, and the (height, label) of its ticks."""
    values = [row[name] for row in done]
    kinds = sorted(set(values))
    if isinstance(values[0], bool | str) or len(kinds) <= 3:
        place = {kind: k / max(len(kinds) - 1, 1) for k, kind in enumerate(kinds)}
        return np.array([place[v] for v in values]), [(h, str(k)) for k, h in place.items()]
    numbers = np.array(values, float)
    domain = SPACE.get(name)
    if isinstance(domain, Range) and domain.log:  # a weight decay of 0 is drawn at the low end
        numbers = np.log(np.maximum(numbers, domain.low))
    low, high = numbers.min(), max(numbers.max(), numbers.min() + 1e-9)
    return (numbers - low) / (high - low), [(0.0, f"{kinds[0]:.3g}"), (1.0, f"{kinds[-1]:.3g}")]
