"""What is searched for: written into the search, and handed to workers.

Flow: takes the command line's choices; gives a `Plan`.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bloodkeras.errors import BloodkerasError
from bloodkeras.recipe import Recipe

if TYPE_CHECKING:
    from keras_tuner import HyperParameters

PLAN = "search/plan"  # a fixed entry of the space, which is how a worker is told


@dataclass(frozen=True)
class Plan:
    """What is searched for. The same plan in the same folder goes on with the search.

    Attributes:
        start: The recipe to start from; its `train_epochs` are those of the longest trial.
        held: Recipe fields that stay as they are.
        strategy: hyperband, bayesian or random.
        objective: One of OBJECTIVES.
        data: SHA-256 of the data.
        full_epochs: The epochs of the recipe that the search ends with.
        lost_after: Seconds of silence after which a worker is given up for lost.
    """

    start: Recipe
    held: tuple[str, ...]
    strategy: str
    objective: str
    data: str
    full_epochs: int
    lost_after: float = 60.0

    def to_json(self) -> str:
        """Return the plan as text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Read what to_json wrote."""
        fields = json.loads(text)
        return cls(**fields | {"start": Recipe(**fields["start"]), "held": tuple(fields["held"])})


def plan_of(space: "HyperParameters") -> Plan:
    """Return the plan that a space carries."""
    return Plan.from_json(next(entry.value for entry in space.space if entry.name == PLAN))


def require_same(new: Plan, old: Plan, folder: Path) -> None:
    """Refuse to go on with a search of another plan.

    Raises:
        BloodkerasError: They differ; the message says in what.
    """
    for field in dataclasses.fields(Plan):
        wanted, found = getattr(new, field.name), getattr(old, field.name)
        if wanted != found:
            raise BloodkerasError(
                f"{folder} holds a search with another {field.name} ({_short(found)}, not "
                f"{_short(wanted)}): move it away, or choose another --out"
            )


def _short(value: object) -> str:
    return value.model_name + " otherwise set" if isinstance(value, Recipe) else str(value)
