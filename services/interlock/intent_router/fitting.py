"""Fitting the classifier: multinomial logistic regression, and how far to believe it.

The loss is convex and L-BFGS starts from zero, so that the same examples give the same weights.
scikit-learn's solver takes sparse or dense input; this one takes both side by side, which is
what our features are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]  # scipy ships no types
from scipy.optimize import minimize  # type: ignore[import-untyped]  # scipy ships no types

from interlock.intent_router.features import Floats

INVERSE_PENALTY = 10.0
"""scikit-learn's `C`: the weights are held down by the sum of their squares over twice this."""

MAX_STEPS = 28
"""Steps of the solver. More of them fit the examples better and what is new to them worse."""

WARM_STEPS = 10
"""Steps that are enough when the weights start from a fit on most of the same examples."""

MANY_EXAMPLES = 1_500
FOLDS = 5

Classes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Examples:
    """Fitted on: the sparse part, the dense part, and the class of each row."""

    matrix: sparse.csr_matrix
    dense: Floats
    classes: Classes

    def part(self, rows: NDArray[np.bool_]) -> "Examples":
        """Those rows only."""
        return Examples(self.matrix[rows], self.dense[rows], self.classes[rows])


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the sparse columns, the dense ones, and the bias; the last axis is the class."""

    sparse: Floats
    dense: Floats
    bias: Floats

    def logits(self, examples: Examples) -> Floats:
        """The score of every class, shape `(rows, classes)`."""
        scores: Floats = examples.matrix @ self.sparse + examples.dense @ self.dense + self.bias
        return scores


def fit(
    examples: Examples, classes: int, start: Weights | None = None, steps: int = MAX_STEPS
) -> Weights:
    """The weights that make the examples' own classes likeliest."""
    rows, columns = examples.matrix.shape
    width = examples.dense.shape[1]
    shape = (columns + width + 1, classes)
    turned = examples.matrix.T.tocsr()
    each = np.arange(rows)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(shape)
        given = _weights(weights.astype(np.float32), columns)
        scores = given.logits(examples)
        scores -= scores.max(axis=1, keepdims=True)
        own = float(scores[each, examples.classes].sum(dtype=np.float64))
        np.exp(scores, out=scores)
        total = scores.sum(axis=1, keepdims=True)
        value = float(np.log(total).sum(dtype=np.float64)) - own
        scores /= total
        scores[each, examples.classes] -= 1
        slope = np.empty(shape)
        slope[:columns] = turned @ scores
        slope[columns:-1] = examples.dense.T @ scores
        slope[-1] = scores.sum(axis=0)
        slope[:-1] += weights[:-1] / INVERSE_PENALTY
        value += float((weights[:-1] ** 2).sum()) / (2 * INVERSE_PENALTY)
        return value / rows, slope.ravel() / rows

    first = np.zeros(shape) if start is None else np.vstack([start.sparse, start.dense, start.bias])
    found = minimize(
        loss,
        first.ravel().astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "maxcor": 5, "ftol": 1e-5, "gtol": 1e-6},
    )
    return _weights(found.x.reshape(shape).astype(np.float32), columns)


def _weights(whole: Floats, columns: int) -> Weights:
    return Weights(whole[:columns], whole[columns:-1], whole[-1])


@dataclass(frozen=True, slots=True)
class Fitted:
    """The weights, and `sigmoid(slope * evidence + offset)` as the chance to be right."""

    weights: Weights
    slope: float
    offset: float


def fit_and_calibrate(examples: Examples, classes: int, outside: int | None) -> Fitted:
    """Fit to all examples; calibrate on those that a fit has not seen.

    A few examples are cross-fitted in five folds; of many, every fifth is left out once and
    the last fit starts where the first one ended. `outside` is the class of examples that are
    out of scope, if there are any.
    """
    rows = len(examples.classes)
    # The place of an example within its class decides, so that each class is in every fold.
    order = np.argsort(examples.classes, kind="stable")
    fold = np.empty(rows, dtype=np.intp)
    fold[order] = np.arange(rows) % FOLDS
    seen: list[Floats] = []
    right: list[NDArray[np.bool_]] = []
    start: Weights | None = None
    folds = range(1) if rows >= MANY_EXAMPLES else range(FOLDS)
    for left_out in folds:
        kept, held = examples.part(fold != left_out), examples.part(fold == left_out)
        if not len(kept.classes) or not len(held.classes):
            continue
        start = fit(kept, classes)
        scores = start.logits(held)
        value, best = evidence(scores, outside)
        seen.append(value)
        right.append(best == held.classes)
    many = rows >= MANY_EXAMPLES
    weights = fit(examples, classes, start, WARM_STEPS) if many else fit(examples, classes)
    slope, offset = _platt(np.concatenate(seen), np.concatenate(right)) if seen else (1.0, 0.0)
    return Fitted(weights, slope, offset)


def evidence(scores: Floats, outside: int | None) -> tuple[Floats, Classes]:
    """How clearly each row belongs to its best class in scope, and that class.

    Half of what speaks for "out of scope" counts against it: measured best on CLINC150 between
    none and all of it, since a few examples cannot show all that is out of scope.
    """
    inside = scores.copy()
    if outside is not None:
        inside -= scores[:, outside : outside + 1] / 2
        inside[:, outside] = -np.inf
    best = inside.argmax(axis=1)
    return inside[np.arange(len(scores)), best], best


def _platt(value: Floats, right: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset by Platt's method, with his smoothed targets against certainty."""
    good, bad = int(right.sum()), int((~right).sum())
    target = np.where(right, (good + 1) / (good + 2), 1 / (bad + 2))

    def loss(given: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = given[0] * value.astype(np.float64) + given[1]
        error = 1 / (1 + np.exp(-np.clip(odds, -500, 500))) - target
        held = 0.5 * (given[0] - 1) ** 2 * 0.1
        cost = float((np.logaddexp(0, odds) - target * odds).sum()) + held
        return cost, np.array([float(error @ value) + 0.1 * (given[0] - 1), float(error.sum())])

    found = minimize(
        loss,
        np.array([1.0, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.05, 20.0), (-50.0, 50.0)],
    )
    return float(found.x[0]), float(found.x[1])
