"""What a data set is: one value that travels with the images, a run, an ONNX file and its card.

Flow: takes a name, class names and a side; gives a `DataSet`, refused where the names or the side
cannot be used. `bloodmnist.py` describes the one that everything means unless told otherwise.
"""

import dataclasses
import re
from collections import Counter

from bloodkeras.contract import VERDICTS
from bloodkeras.errors import BloodkerasError
from bloodkeras.named_types import Json

SIDES = range(16, 513)  # pixels: with fewer nothing is left after three poolings
CLASS_COUNTS = range(2, 257)
# A class name is a folder of copies, a column, a word between commas on the command line, and is
# told from the number of a class by a letter.
CLASS_NAME = re.compile(r"(?=.*[^\W\d_])[\w(][\w .+()'-]{0,58}[\w)+']|[^\W\d_]")


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A set of images of one cell each.

    Attributes:
        name: What it is called, in cards and on pages.
        class_names: In the order of the labels 0..K-1.
        image_side: Pixels; every image is a square of RGB, uint8.
        licence: Of the images; "" where it is not known.
        credits: A line for each work to be named.
        limits: What a network trained on it has not seen, in sentences; "" where nobody said.
        file_name: Of the published file; "" where none is published, as then are the next two.
        url: Where it comes from.
        md5: Of the published file.
    """

    name: str
    class_names: tuple[str, ...]
    image_side: int
    licence: str = ""
    credits: tuple[str, ...] = ()
    limits: str = ""
    file_name: str = ""
    url: str = ""
    md5: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable():
            raise BloodkerasError(f"the name of a data set is {self.name!r}: expected one line")
        if len(self.class_names) not in CLASS_COUNTS:
            raise BloodkerasError(
                f"{self.name} has {len(self.class_names)} classes: expected "
                f"{CLASS_COUNTS[0]} to {CLASS_COUNTS[-1]}"
            )
        for name in self.class_names:
            if not CLASS_NAME.fullmatch(name) or plain(name) in VERDICTS:
                raise BloodkerasError(
                    f"{self.name}: {name!r} cannot be the name of a class: expected letters and "
                    f"digits, a letter among them, and none of {', '.join(VERDICTS)}"
                )
        meanings = Counter(plain(name).removesuffix("s") for name in self.class_names)
        meant, count = meanings.most_common(1)[0]
        if count > 1:
            raise BloodkerasError(
                f"{self.name} has {count} classes called {meant!r}: case, blanks, points, _, - and "
                "a plural do not tell names apart"
            )
        if self.image_side not in SIDES:
            raise BloodkerasError(
                f"{self.name} has images of {self.image_side} pixels a side: expected {SIDES[0]} "
                f"to {SIDES[-1]}"
            )

    @property
    def class_count(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, RGB."""
        return self.image_side, self.image_side, 3

    def as_dict(self) -> Json:
        """Return it as JSON holds it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, said: Json) -> "DataSet":
        """Return what `as_dict` wrote, or a later version of it.

        Raises:
            BloodkerasError: It is nothing of the kind.
        """
        try:
            fields = [field.name for field in dataclasses.fields(cls) if field.name in said]
            lists = {name: tuple(said[name]) for name in ("class_names", "credits")}
            return cls(**{name: said[name] for name in fields} | lists)
        except (TypeError, KeyError) as error:
            raise BloodkerasError(f"no description of a data set: {error!r} in {said!r}") from None

    def check_fits(self, other: "DataSet", what: str) -> None:
        """Refuse images of another side or other classes.

        Args:
            other: The data that something is to be done with.
            what: What was made for this data set, for the message.

        Raises:
            BloodkerasError: They differ.
        """
        if (self.class_names, self.image_side) != (other.class_names, other.image_side):
            raise BloodkerasError(
                f"{what} is for {self.described()}, and the data are {other.described()}: name "
                "its own with --data or --size"
            )

    def described(self) -> str:
        """Return name, side and classes in a few words."""
        side, classes = self.image_side, ", ".join(self.class_names)
        return f"{self.name} ({side}x{side} pixels; {classes})"


def plain(name: str) -> str:
    """Return a name without what does not count in one: case, blanks, points, _ and -."""
    return "".join(letter for letter in str(name).casefold() if letter not in " _-.\t\n\r\xa0")
