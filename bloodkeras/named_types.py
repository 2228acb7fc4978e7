"""The names of types that stand in many signatures.

N: images; K: classes. What an array's axes are stands in the docstring of who takes or gives it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # RGB, 0..255: one image (S, S, 3) or many (N, S, S, 3)
Probs = NDArray[np.float32]  # (N, K), rows sum to 1
Labels = NDArray[np.integer[Any]]  # (N,), a class each: 0..K-1
Flags = NDArray[np.bool_]
Words = NDArray[np.str_]
Floats = NDArray[np.floating[Any]]
Array = NDArray[Any]  # of any type
Tensor = Any  # of Keras or TensorFlow, which have no types: symbolic or with values
Logs = dict[str, float] | None  # what Keras hands to a callback
Json = dict[str, Any]  # what a JSON file holds: a card, a report, run.json
