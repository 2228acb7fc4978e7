"""What a search found so far: on the terminal as it happens, and as tables.

Flow: takes an oracle; gives

    leaderboard.txt   all trials, the best first    tuning.csv    the same with every field
    recipe.json       the best trial's recipe       history.csv   one row a trial and epoch
"""

import csv
import dataclasses
import io
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_tuner import Oracle
from keras_tuner.engine.trial import Trial

from bloodkeras.named_types import Json
from bloodkeras.recipe import write_recipe
from bloodkeras.tuning.plan import Plan
from bloodkeras.tuning.search_space import OBJECTIVES, SPACE, recipe_of
from bloodkeras.whole_file import whole_file

if TYPE_CHECKING:
    from rich.text import Text

LOG = logging.getLogger(__name__)

SHOWN = 10  # rows on the terminal
MEASURED = ("loss", *OBJECTIVES)


def rows(oracle: Oracle, plan: Plan) -> list[Json]:
    """Return a row for each trial, the best first: what it was, and its best epoch's metrics."""
    sign = -1 if OBJECTIVES[plan.objective] == "max" else 1

    def place(row: Json) -> tuple[Any, ...]:
        done = row["status"] == "completed"  # an unfinished trial is not comparable yet
        return (not done, sign * row[plan.objective] if done else 0, row["trial"])

    def describe(trial: Trial) -> Json:
        seen = epochs_of(trial)
        none = dict.fromkeys(("epoch", *MEASURED), "")
        best = min(seen, key=lambda row: sign * row[plan.objective], default=none)
        recipe = recipe_of(trial.hyperparameters.values, plan.start)
        return {
            "trial": trial.trial_id,
            "status": "waiting" if trial.status == "INVALID" else trial.status.lower(),
            **{name: best[name] for name in MEASURED},
            "best_epoch": best["epoch"],
            "epochs": len(seen),
            "seconds": round(oracle.seconds[trial.trial_id], 1),
            "message": trial.message or "",
            **{name: getattr(recipe, name) for name in SPACE},
        }

    return sorted(map(describe, oracle.trials.values()), key=place)


def epochs_of(trial: Trial) -> list[Json]:
    """Return the metrics of each epoch that a trial has reported, in order."""
    if not trial.metrics.exists("loss"):
        return []
    each = zip(*(trial.metrics.get_history(name) for name in MEASURED), strict=True)
    return [
        {"epoch": seen[0].step}
        | {name: float(number.mean()) for name, number in zip(MEASURED, seen, strict=True)}
        for seen in each
    ]


def write_tables(oracle: Oracle, plan: Plan, folder: Path) -> list[Json]:
    """Write tuning.csv, history.csv, leaderboard.txt and, once a trial is completed, recipe.json.

    Returns:
        What `rows` gives.

    Raises:
        BloodkerasError: They cannot be written.
    """
    found = rows(oracle, plan)
    epochs = [
        {"trial": key, **row}
        for key, trial in sorted(oracle.trials.items())
        for row in epochs_of(trial)
    ]
    tables = {
        "tuning.csv": _csv(found),
        "history.csv": _csv(epochs),
        "leaderboard.txt": "\n".join(lines(found, plan)) + "\n",
    }
    for name, content in tables.items():
        with whole_file(folder / name) as file:
            file.write(content.encode())
    if found and found[0]["status"] == "completed":
        best = {name: found[0][name] for name in SPACE}
        recipe = dataclasses.replace(plan.start, train_epochs=plan.full_epochs, **best)
        write_recipe(recipe, folder / "recipe.json")
    return found


def changed(row: Json, plan: Plan) -> str:
    """Return as text how a trial's settings differ from the starting recipe."""
    parts = [
        f"{name.split('_', 1)[1]} {row[name]}"
        for name in SPACE
        if name not in plan.held and row[name] != getattr(plan.start, name)
    ]
    return ", ".join(parts) or "the starting recipe"


def lines(found: list[Json], plan: Plan) -> list[str]:
    """Return the leaderboard as text."""
    text = [f"{'trial':>5} {plan.objective:>14} {'epoch':>7} {'seconds':>8}  {'status':10} what"]
    for row in found:
        score = "" if row[plan.objective] == "" else f"{row[plan.objective]:.4f}"
        epochs = f"{row['best_epoch']}/{row['epochs']}"
        text.append(
            f"{row['trial']:>5} {score:>14} {epochs:>7} {row['seconds']:>8.0f}  "
            f"{row['status']:10} {row['message'] or changed(row, plan)}"
        )
    return text


class Leaderboard:
    """Shows the best trials as they come: redrawn on a terminal, else a line when one ends."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.live = None
        if sys.stdout.isatty():
            from rich.live import Live

            self.live = Live(auto_refresh=False)
            self.live.start()

    def show(self, oracle: Oracle, trial: Trial) -> None:
        """Show what changed; write the tables when a trial ended."""
        ended = trial.status in ("COMPLETED", "FAILED")
        found = write_tables(oracle, self.plan, self.folder) if ended else rows(oracle, self.plan)
        if self.live:
            self.live.update(self._text(oracle, found), refresh=True)
        elif ended:
            row = next(row for row in found if row["trial"] == trial.trial_id)
            LOG.info(f"{self._said(row)}; best: trial {found[0]['trial']}")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.live:
            self.live.stop()

    def _said(self, row: Json) -> str:
        start = f"trial {row['trial']} {row['status']}"
        if row["status"] != "completed":
            return f"{start}: {row['message']}"
        score = f"{self.plan.objective} {row[self.plan.objective]:.4f}"
        what = changed(row, self.plan)
        return (
            f"{start}: {score} in epoch {row['best_epoch']} of {row['epochs']}, "
            f"{row['seconds']:.0f} s ({what})"
        )

    def _text(self, oracle: Oracle, found: list[Json]) -> "Text":
        from rich.text import Text

        running = [row for row in found if row["status"] == "running"]
        others = [row for row in found if row["status"] != "running"][:SHOWN]
        model, ended = self.plan.start.model_name, len(oracle.end_order)
        title = f"{model}: {ended} of {oracle.max_trials} trials"
        text = "\n".join([title, *lines(others + running, self.plan)])
        return Text(text, no_wrap=True, overflow="ellipsis")


def _csv(found: list[Json]) -> str:
    text = io.StringIO()
    if found:
        writer = csv.DictWriter(text, fieldnames=list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    return text.getvalue()
