"""All that is read off a network at one point of its training."""

from __future__ import annotations

from dataclasses import dataclass

from .._typing import FloatArray
from .._validation import InputError
from ..results import Estimate

DEFAULT_RECIPES = {
    "K": ("participation-ratio", "variance-95-interpolated", "entropy", "stable"),
    "P": ("participation-ratio",),
    "NTK": ("participation-ratio",),
}
"""Recipes of effective rank that :func:`analyze_network` uses for each operator."""


@dataclass(frozen=True)
class OperatorRank:
    """Effective rank of an operator.

    Attributes
    ----------
    operator : {"K", "P", "NTK"}
        The operator; the rank of P is that of ``P P*``.
    recipe : str
        How an effective rank is made of a spectrum, as :func:`effective_rank` names it.
    estimate : Estimate
        The rank, how well it is known, and what it cost.
    """

    operator: str
    recipe: str
    estimate: Estimate


@dataclass(frozen=True, eq=False)
class NetworkAnalysis:
    """Ranks, spectra, modes and principal components of a network at one iteration.

    Attributes
    ----------
    iteration : int
        Iteration of training after which the parameters were taken.
    evaluation_loss : float
        Masked mean squared error on the batch; NaN without a readout.
    accuracy : float
        The task's accuracy on the batch; NaN without a readout or a task.
    ranks : tuple of OperatorRank
        Effective ranks of K, P (of ``P P*``) and the NTK.
    spectra : dict of str to ndarray
        Leading eigenvalues, descending, under ``"K"``, ``"P"`` (of ``P P*``) and ``"NTK"``.
    complete : dict of str to bool
        For each spectrum, whether all its eigenpairs converged and the certificate found no
        larger eigenvalue left out.
    methods : dict of str to str
        The solver of each spectrum.
    modes : dict of str to ndarray, shape (r, B, T)
        Course over trials and steps of the leading eigenvectors of ``"K"`` and ``"NTK"``.
    mode_fractions : dict of str to ndarray, shape (r,)
        Share of each mode that its course explains.
    principal_components : ndarray, shape (B, T, 3)
        Hidden states along their three principal directions, centred.
    explained_variance : ndarray, shape (3,)
        Share of the variance along each direction, from 0 to 1.
    n_products : dict of str to int
        Products of single columns that each operator took, with its factors counted.
    """

    iteration: int
    evaluation_loss: float
    accuracy: float
    ranks: tuple[OperatorRank, ...]
    spectra: dict[str, FloatArray]
    complete: dict[str, bool]
    methods: dict[str, str]
    modes: dict[str, FloatArray]
    mode_fractions: dict[str, FloatArray]
    principal_components: FloatArray
    explained_variance: FloatArray
    n_products: dict[str, int]

    def rank(self, operator: str, recipe: str = "participation-ratio") -> Estimate:
        """Return the effective rank of an operator by a recipe.

        Raises
        ------
        InputError
            If the analysis holds no such rank; the message lists those it holds.
        """
        for entry in self.ranks:
            if (entry.operator, entry.recipe) == (operator, recipe):
                return entry.estimate
        held = ", ".join(f"{entry.operator} by {entry.recipe}" for entry in self.ranks)
        raise InputError(
            f"The analysis holds no effective rank of {operator!r} by {recipe!r}; it holds {held}."
        )
