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
from bloodkeras.recipe import Recipe, write_recipe
from bloodkeras.tuning.plan import Plan
from bloodkeras.tuning.search_space import OBJECTIVES, SPACE, recipe_of
from bloodkeras.whole_file import whole_file

if TYPE_CHECKING:
    from rich.table import Table

LOG = logging.getLogger(__name__)

SHOWN = 10  # rows on the terminal
CHANGES_SHOWN = 6
MEASURED = ("loss", *OBJECTIVES)


def rows(oracle: Oracle, plan: Plan) -> list[Json]:
    """Return a row for each trial, the best first: what it was, and its best epoch's metrics."""
    found = [_row(oracle, trial, plan) for trial in oracle.trials.values()]
    sign = -1 if oracle.objective.direction == "max" else 1

    def place(
        row: Json,
    ) -> tuple[Any, ...]:  # an unfinished trial's best epoch is not comparable yet
        done = row["status"] == "completed"
        return (not done, sign * row[plan.objective] if done else 0, row["trial"])

    return sorted(found, key=place)


def write_tables(oracle: Oracle, plan: Plan, folder: Path) -> None:
    """Write tuning.csv, history.csv, leaderboard.txt and, once a trial is completed, recipe.json.

    Raises:
        BloodkerasError: They cannot be written.
    """
    found = rows(oracle, plan)
    changes = {row["trial"]: changed(row, plan) for row in found}
    text = "\n".join(lines(found, plan, changes)) + "\n"
    tables = {
        "tuning.csv": _csv(found),
        "history.csv": _csv(history(oracle)),
        "leaderboard.txt": text.encode(),
    }
    for name, content in tables.items():
        with whole_file(folder / name) as file:
            file.write(content)
    best = best_recipe(oracle, plan)
    if best is not None:
        write_recipe(best, folder / "recipe.json")


def best_recipe(oracle: Oracle, plan: Plan) -> Recipe | None:
    """Return the best completed trial's recipe, with the epochs of a whole training."""
    best = [trial for trial in oracle.get_best_trials(1) if trial.status == "COMPLETED"]
    if not best:
        return None
    recipe = recipe_of(best[0].hyperparameters.values, plan.start)
    return dataclasses.replace(recipe, train_epochs=plan.full_epochs)


def history(oracle: Oracle) -> list[Json]:
    """Return a row for each trial and epoch."""
    found = []
    for key, trial in sorted(oracle.trials.items()):
        series = {
            name: {seen.step: seen.mean() for seen in trial.metrics.get_history(name)}
            for name in MEASURED
            if trial.metrics.exists(name)
        }
        for epoch in series.get("loss", {}):
            values = {name: float(steps[epoch]) for name, steps in series.items()}
            found.append({"trial": key, "epoch": epoch, **values})
    return found


def changed(row: Json, plan: Plan) -> str:
    """Return as text how a trial's settings differ from the starting recipe."""
    start = dataclasses.asdict(plan.start)
    parts = [
        f"{name.split('_', 1)[1]} {row[name]}"
        for name in SPACE
        if name not in plan.held and row[name] != start[name]
    ]
    return ", ".join(parts) or "the starting recipe"


def lines(found: list[Json], plan: Plan, changes: dict[str, str]) -> list[str]:
    """Return the leaderboard as text."""
    text = [f"{'trial':>5} {plan.objective:>14} {'epoch':>7} {'seconds':>8}  {'status':10} what"]
    for row in found:
        score = "" if row[plan.objective] == "" else f"{row[plan.objective]:.4f}"
        epochs = f"{row['best_epoch']}/{row['epochs']}"
        text.append(
            f"{row['trial']:>5} {score:>14} {epochs:>7} {row['seconds']:>8.0f}  "
            f"{row['status']:10} {row['message'] or changes[row['trial']]}"
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
        if ended:
            write_tables(oracle, self.plan, self.folder)
        if self.live:
            self.live.update(self._table(oracle), refresh=True)
        elif ended:
            found = {row["trial"]: row for row in rows(oracle, self.plan)}
            row, best = found[trial.trial_id], next(iter(found.values()))
            LOG.info(f"{self._said(row)}; best: trial {best['trial']}")

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

    def _table(self, oracle: Oracle) -> "Table":
        from rich.table import Table

        found = rows(oracle, self.plan)
        ended = sum(row["status"] in ("completed", "failed") for row in found)
        table = Table(title=f"{self.plan.start.model_name}: {ended} of {oracle.max_trials} trials")
        for name in ("trial", "status", self.plan.objective, "epoch", "seconds", "what"):
            table.add_column(name)
        running = [row for row in found if row["status"] == "running"]
        for row in [*[row for row in found if row not in running][:SHOWN], *running]:
            score = row[self.plan.objective]
            what = (row["message"] or changed(row, self.plan)).split(", ")
            table.add_row(
                row["trial"],
                row["status"],
                f"{score:.4f}" if score != "" else "",
                f"{row['best_epoch']}/{row['epochs']}",
                f"{row['seconds']:.0f}",
                ", ".join(what[:CHANGES_SHOWN]) + (", ..." if len(what) > CHANGES_SHOWN else ""),
            )
        return table


def _row(oracle: Oracle, trial: Trial, plan: Plan) -> Json:
    seen = trial.metrics.exists(plan.objective)
    best = trial.metrics.get_best_step(plan.objective) if seen else None
    epochs = len(trial.metrics.get_history(plan.objective)) if seen else 0
    values = {name: _at(trial, name, best) for name in MEASURED}
    recipe = dataclasses.asdict(recipe_of(trial.hyperparameters.values, plan.start))
    status = {"INVALID": "waiting"}.get(trial.status, trial.status.lower())
    return {
        "trial": trial.trial_id,
        "status": status,
        **values,
        "best_epoch": best or "",
        "epochs": epochs,
        "seconds": round(oracle.seconds[trial.trial_id], 1),
        "message": trial.message or "",
        **{name: recipe[name] for name in SPACE},
    }


def _at(trial: Trial, name: str, epoch: int | None) -> float | str:
    """Return a metric of one epoch, "" where there is none."""
    series = trial.metrics.get_history(name) if trial.metrics.exists(name) else []
    return next((float(seen.mean()) for seen in series if seen.step == epoch), "")


def _csv(found: list[Json]) -> bytes:
    text = io.StringIO()
    if found:
        writer = csv.DictWriter(text, fieldnames=list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    return text.getvalue().encode()
