"""Matrices with a prescribed spectrum, and operators that know more than their products."""

from __future__ import annotations

import numpy as np
from scipy.linalg import block_diag
from scipy.sparse.linalg import LinearOperator

from kpflow_numerics.results import Cost

# name -> (eigenvalues, number of pairs to ask for)
SPECTRA = {
    "fast decay": (2.0 ** -np.arange(120), 6),
    "slow decay": (1 / (1 + np.arange(150.0)), 6),
    "many pairs": (1 / (1 + np.arange(200.0)), 40),
    "linear": (np.linspace(0, 1, 120), 5),
    "repeated": (np.repeat([3.0, 2.0, 1.0, 0.0], [4, 9, 30, 60]), 10),
    "many copies": (np.repeat([3.0, 2.0, 1.0], 40), 20),
    "identity": (np.ones(90), 7),
    "scaled identity": (np.full(64, 0.95), 10),
    "zero": (np.zeros(80), 6),
    "rank one": (np.eye(1, 100)[0], 6),
    "low rank": (np.r_[4.0, 3.0, 2.0, np.zeros(97)], 8),
    "indefinite": (np.r_[np.linspace(-9, -1, 60), np.linspace(0, 2, 60)], 6),
    "negative": (-np.arange(1, 81.0), 5),
    "tiny": (1e-12 / (1 + np.arange(70.0)), 5),
    "huge": (1e12 / (1 + np.arange(70.0)), 5),
    "one by one": (np.array([2.0]), 1),
    "two by two": (np.array([1.0, 1.0]), 1),
    "all pairs": (np.array([4.0, 3.0, 3.0, 1.0, 0.0]), 5),
    "all but one": (np.arange(30.0), 29),
}

# name -> (singular values, number of triplets to ask for)
SINGULAR_SPECTRA = {
    "fast decay": (2.0 ** -np.arange(60), 6),
    "slow decay": (1 / (1 + np.arange(70.0)), 10),
    "identity": (np.ones(70), 10),
    "zero": (np.zeros(40), 5),
    "repeated": (np.repeat([3.0, 2.0, 1.0], 20), 20),
    "rank one": (np.array([1.0]), 6),
    "rank three": (np.array([1.0, 0.1, 0.01]), 6),
    "all triplets": (np.arange(60.0), 60),
}


def orthogonal(n: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


def with_eigenvalues(values: np.ndarray, dtype=np.float64, seed: int = 3) -> np.ndarray:
    Q = orthogonal(len(values), seed)
    matrix = (Q * values) @ Q.T
    return ((matrix + matrix.T) / 2).astype(dtype)


def with_singular_values(
    sigma: np.ndarray, shape: tuple[int, int], dtype=np.float64, seed: int = 3
) -> np.ndarray:
    U, V = orthogonal(shape[0], seed), orthogonal(shape[1], seed + 1)
    padded = np.zeros(min(shape))
    padded[: len(sigma)] = sigma
    count = len(padded)
    return ((U[:, :count] * padded) @ V[:, :count].T).astype(dtype)


def repeated_stimuli(seed: int, n_trials: int = 8, n_distinct: int = 2, size: int = 24):
    """Return the matrix of an operator that acts within trials, some of which are the same."""
    rng = np.random.default_rng(seed)
    blocks = []
    for _ in range(n_distinct):
        factor = np.tril(rng.standard_normal((size, size))) / 3 + np.eye(size)
        blocks.append(factor @ factor.T)
    return block_diag(*[blocks[trial % n_distinct] for trial in range(n_trials)])


class Operator(LinearOperator):
    """A matrix as an operator, with whatever else a test lets it know.

    Counts the columns it multiplies in ``columns`` and the widest block in ``widest``.
    """

    def __init__(self, matrix: np.ndarray, **knows: object) -> None:
        super().__init__(matrix.dtype, matrix.shape)
        self.matrix = matrix
        self.columns = 0
        self.widest = 0
        for name, value in knows.items():
            setattr(self, name, value)

    def _count(self, x):
        width = 1 if x.ndim == 1 else x.shape[1]
        self.columns += width
        self.widest = max(self.widest, width)

    def _matmat(self, x):
        self._count(x)
        return self.matrix @ x

    def _rmatmat(self, x):
        self._count(x)
        return self.matrix.T @ x

    _matvec = _matmat
    _rmatvec = _rmatmat


def gram_operator(factor: np.ndarray, **knows: object) -> Operator:
    """Return ``L L*`` as an operator that knows its factor."""
    return Operator(
        factor @ factor.T,
        self_adjoint=True,
        positive_semidefinite=True,
        factor=Operator(factor),
        **knows,
    )


def knows_exactly(quantity: str, value: object, cost: Cost | None = None) -> dict[str, object]:
    """Return what makes an Operator offer ``exact_<quantity>``."""
    known: dict[str, object] = {f"exact_{quantity}": lambda *arguments: value}
    if cost is not None:
        known["exact_cost"] = lambda asked: cost if asked == quantity else None
    return known
