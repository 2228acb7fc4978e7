"""Fits one normal distribution a class, to say how far something is from all of them.

Flow: takes features and labels; gives arrays that `ood_score.py` and `card.py` use.
"""

import numpy as np

from bloodkeras.named_types import Floats, Labels

SHRINKAGE = 0.05  # of the features' covariance towards its diagonal: it is to be inverted


def gaussian(features: Floats, labels: Labels) -> dict[str, Floats]:
    """Fit one normal distribution a class, all with the same covariance.

    Args:
        features: float (N, F).
        labels: int (N,), of K classes.

    Returns:
        "centre": float32 (F,), to be subtracted first, because float32 forgets small differences
        of large numbers; "whitening": float32 (F, F), to be multiplied with next; "means": float32
        (K, F), of the classes after both.
    """
    centre = features.mean(0)
    features = features - centre
    classes, members = np.unique(labels, return_inverse=True)
    means = np.stack([features[members == k].mean(0) for k in range(len(classes))])
    covariance = np.cov((features - means[members]).T)
    # A feature that never varies must not make it singular; colours vary by .01 and less.
    diagonal = np.diag(np.diag(covariance)) + 1e-6 * np.eye(len(covariance))
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * diagonal
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    found = {"centre": centre, "whitening": whitening, "means": means @ whitening}
    return {name: array.astype(np.float32) for name, array in found.items()}
