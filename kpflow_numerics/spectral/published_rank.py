"""The rank recipe of a published figure, so that the figure can be reproduced."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .._validation import check_choice, check_integer
from ..results import Cost, Estimate
from ._any_scale import NO_SCALE, at_any_scale
from .partial_trace import DEFAULT_MAX_PRODUCTS, projection_of
from .rank_recipes import rank_from_weights

PUBLISHED_RECIPES = ("paper-figure-4",)
"""Names of the recipes of :func:`published_rank`."""


def published_rank(
    op: Any,
    recipe: str = "paper-figure-4",
    *,
    n_leading: int | None = None,
    dims: tuple[int, int, int] | None = None,
    max_memory: float | None = None,
) -> Estimate:
    """Return the rank that Figure 4 of arXiv:2507.06381 draws, of an operator on states.

    It is a rank of a reduced matrix, not of the operator: use :func:`effective_rank` for that.

    Average ``A A*`` over trials and units, ``G[t, s] = mean_bi sum_cj (A A*)[b t i, c s j]``
    (the *uniform projection*, not a partial trace); let ``g_1 >= ... >= g_T`` be the eigenvalues
    of the ``T x T`` matrix G. The rank is the number of leading ``g^2``, interpolated linearly,
    that hold 95 % of the sum of the first `n_leading` of them. Three choices make it smaller or
    larger than a 95 % rank of the operator: the direction that is constant over trials and units
    stands for all, the weights are fourth powers of singular values, and the tail is cut off
    before the sum is taken.

    Parameters
    ----------
    op : LinearOperator, shape (n, p)
        The operator A, with ``dimsd`` or `dims`. Also where A is self-adjoint, as K is, ``A A*``
        is taken, as in the publication.
    recipe : {"paper-figure-4"}
        The recipe.
    n_leading : int, optional
        Eigenvalues that are kept, from 1 to T: by default two thirds of T, rounded down, which is
        60 of 90. Pass T to keep all.
    dims : tuple of int, optional
        The axes' lengths ``(B, T, N)``, where the operator does not have them.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.

    Returns
    -------
    Estimate
        Exact to rounding; between 0.95 and `n_leading`, or 0 for a G of zeros.

    Raises
    ------
    InputError
        If the recipe or `n_leading` is not one of those above, or the axes are not known.
    MemoryLimitError
        If it would take more than `max_memory`.

    Notes
    -----
    T products with A and T with its adjoint, in chunks, and the eigenvalues of one ``T x T``
    matrix: ``4/3 T^3`` flops beside the products.

    Source: recomputed from the definitions above, which were checked against the authors' public
    analysis script (it keeps 60 eigenvalues for P and 20 for K, on 4 trials of 90 steps). A GRU
    of 256 units with PyTorch's initial values on Memory-Pro starts at 36.3 for P (standard
    deviation 0.6, from 35.4 to 37.7, over ten seeds); the published curve starts near 36 to 37.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> task = kpf.MemoryPro(n_stimulus=10, n_memory=10, n_response=10)
    >>> cell = kpf.GRU(n_inputs=3, n_units=16)
    >>> lin = kpf.linearize(
    ...     kpf.simulate(cell, cell.init_params(rng=3), task.evaluation_batch(4).inputs))
    >>> rank = kpf.published_rank(kpf.Propagator(lin))
    >>> 10 < rank.value < 20, rank.recipe, rank.n_matvecs
    (True, 'paper-figure-4', 60)
    """
    solve = partial(
        _published_rank, recipe=recipe, n_leading=n_leading, dims=dims, max_memory=max_memory
    )
    return at_any_scale(solve, (op,), NO_SCALE)


def _published_rank(
    op: Any,
    *,
    recipe: str,
    n_leading: int | None,
    dims: tuple[int, int, int] | None,
    max_memory: float | None,
) -> Estimate:
    recipe = check_choice(recipe, "recipe", PUBLISHED_RECIPES)
    averaged = projection_of(
        op,
        over=("trial", "unit"),
        normalization="mean",
        dims=dims,
        max_products=DEFAULT_MAX_PRODUCTS,
        max_memory=max_memory,
        self_adjoint=False,
    )
    size = len(averaged)
    if n_leading is None:
        n_leading = max(1, 2 * size // 3)
    n_leading = check_integer(n_leading, "n_leading", maximum=size)
    matrix = averaged.matrix.astype(np.float64)
    eigenvalues = np.linalg.eigvalsh((matrix + matrix.T) / 2)[::-1]
    leading = np.maximum(eigenvalues, 0)[:n_leading]
    value = rank_from_weights(leading, "variance-95-interpolated", "squared")
    spent = Cost(0.0, 0.0) if averaged.cost is None else averaged.cost
    return Estimate(
        value=value,
        lower=value,
        upper=value,
        standard_error=0.0,
        method="uniform projection",
        n_matvecs=averaged.n_matvecs,
        quantity="rank of A A* averaged over trials and units",
        recipe=recipe,
        cost=Cost(spent.flops + 4.0 / 3.0 * float(size) ** 3, spent.memory_bytes),
    )
