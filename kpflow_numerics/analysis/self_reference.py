"""How much of what learning does to the states lies along what the activity was, with controls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from .._typing import ArrayLike, FloatArray, ParamsLike, RNGLike
from .._validation import InputError, check_array, check_integer, check_rng
from ..linearization import Linearization
from ..operators import KroneckerCore, PropagatorGram, TangentKernel
from ..operators._readout_map import ReadoutMap
from ..operators._site_gram import over_power_of_two
from ..operators.base import StructuredOperator, check_linearization
from ..results import Cost, Estimate
from ..spectral._budget import check_max_memory, check_memory
from ..spectral.dense import PRODUCT_COLUMNS, chunks
from ..spectral.estimators.sampled import CONFIDENCE, mean_of_probes


@dataclass(frozen=True, repr=False)
class SelfReferentialBias:
    """Shares of moves of the states in the leading modes of the activity, beside their controls.

    A share is the part of a squared norm, from 0 to 1, that lies in the modes, whichever units it
    is on; NaN where nothing moves.

    Attributes
    ----------
    share : float
        Of ``dh = P K P* err``, up to its sign the move of the states under gradient descent.
    random_errors : Estimate
        Mean share of the moves ``P K P* z`` of errors z of independent normal entries. Where
        `share` is no larger, the error has no part in the bias: it is K's, of which all moves are
        made.
    random_output_errors : Estimate or None
        The same of errors ``C* z`` of random errors z of the outputs, which is all that a loss
        can ask for; None without a readout.
    without_bottleneck : float
        Of ``P P* err``, the move if every state had parameters of its own.
    error : float
        Of the error itself.
    chance : float
        Expected share of what is drawn without looking, ``n_modes / (B T)``.
    mode_share : float
        Share of the activity ``|V|^2`` itself in the modes.
    n_modes, n_random : int
        Number of modes, and of random errors of each kind.
    """

    share: float
    random_errors: Estimate
    random_output_errors: Estimate | None
    without_bottleneck: float
    error: float
    chance: float
    mode_share: float
    n_modes: int
    n_random: int

    def __repr__(self) -> str:
        outputs = ""
        if self.random_output_errors is not None:
            outputs = f", of random output errors {self.random_output_errors.value:.4g}"
        return (
            f"SelfReferentialBias({self.share:.4g} in {self.n_modes} modes; of random errors "
            f"{self.random_errors.value:.4g}{outputs}, without K {self.without_bottleneck:.4g}, "
            f"error {self.error:.4g}, chance {self.chance:.4g})"
        )


def self_referential_bias(
    linearization: Linearization,
    errors: ArrayLike,
    *,
    n_modes: int = 5,
    n_random: int = 64,
    rng: RNGLike = 0,
    readout: ParamsLike | None = None,
    max_memory: float | None = None,
) -> SelfReferentialBias:
    """Return the share of ``dh = P K P* err`` in the leading modes of the activity.

    The modes are the leading left singular vectors, over trials and steps, of V, what the weights
    multiply. As K is made of V, learning moves the states mostly along modes that the activity has
    already. A high share alone does not say whose doing it is, so the same share is taken of other
    moves: those of random errors, which only the network has shaped; ``P P* err``, which only the
    error and P have; and the error itself.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    errors : array_like, shape (B, T, N)
        ``dloss/dh``, as :func:`kpflow_numerics.state_error` returns it, also with `readout`. Its
        scale has no effect.
    n_modes : int
        Number of modes, at most the rank of V.
    n_random : int
        Number of random errors of each kind, at least 2.
    rng : int, SeedSequence or Generator
        Source of the random errors: those of the states are drawn first.
    readout : mapping of str to array_like, optional
        ``weight (O, H)`` and ``bias (O,)``, for the control of random errors of the outputs.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.

    Returns
    -------
    SelfReferentialBias
        The shares of given moves are exact; those of random errors have a standard error and a
        95 % interval.

    Raises
    ------
    InputError
        If a shape does not fit, an entry is not finite, the error vanishes, or V has fewer modes.
    InputTypeError
        If an argument is of another kind.
    MemoryLimitError
        If it would take more than `max_memory`.

    Notes
    -----
    V is that of :class:`~kpflow_numerics.KroneckerCore`: two biases of a GRU, LSTM or vanilla
    network count twice, ``[x_t, h_{t-1}, 1, 1]``, and the constant course weighs the more. It is
    not centred, so that a mode is mostly the mean over trials and steps. Random errors have
    entries on all states, for an LSTM on c as well, which no readout sees.

    It takes one product with ``P P*`` and ``1 + n_random`` with ``P K P*``, or ``1 + 2 n_random``
    with a readout, ``2 B T N n_modes`` flops for the share of each, and a singular value
    decomposition of V. Random errors of one kind are held at once, ``8 B T N n_random`` bytes.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> batch = kpf.MemoryPro(5, 5, 5).evaluation_batch(6)
    >>> cell, readout = kpf.GRU(3, 8), kpf.init_readout(8, 3, rng=5)
    >>> trajectory = kpf.simulate(cell, cell.init_params(rng=3), batch.inputs)
    >>> error = kpf.state_error(trajectory, readout, batch)
    >>> found = kpf.self_referential_bias(kpf.linearize(trajectory), error, n_modes=3)
    >>> found.share > 0.9 > found.without_bottleneck
    True
    >>> round(found.chance, 3)
    0.033
    """
    kernel = TangentKernel(check_linearization(linearization))
    error = check_array(errors, "errors", kernel.dims, dtype=kernel.dtype)
    if not error.any():
        raise InputError("errors must not be all zero: nothing would move.")
    n_random = check_integer(n_random, "n_random", minimum=2)
    generator = check_rng(rng)
    through = None if readout is None else ReadoutMap(linearization, readout, "cell")
    # The draws in double precision and in that of the products, and the images of a chunk.
    held = (8.0 + kernel.dtype.itemsize) * n_random + 4.0 * 8.0 * min(n_random, PRODUCT_COLUMNS)
    check_memory(kernel.shape[0] * held, check_max_memory(max_memory), "self_referential_bias",
                 "Take fewer random errors (n_random) or trials, or raise max_memory.")  # fmt: skip
    modes, mode_share = _leading_modes(linearization, n_modes)
    column = error[..., None]
    random = generator.standard_normal((*kernel.dims, n_random))
    of_random = _mean_share(kernel, modes, random)
    of_outputs = None
    if through is not None:
        outputs = generator.standard_normal((*through.dims, n_random))
        of_outputs = _mean_share(kernel, modes, through.states(outputs.astype(kernel.dtype)))
    return SelfReferentialBias(
        share=float(_shares(modes, kernel.apply(column))[0]),
        random_errors=of_random,
        random_output_errors=of_outputs,
        without_bottleneck=float(_shares(modes, PropagatorGram(linearization).apply(column))[0]),
        error=float(_shares(modes, column)[0]),
        chance=modes.shape[1] / len(modes),
        mode_share=mode_share,
        n_modes=modes.shape[1],
        n_random=n_random,
    )


def activity_rank(linearization: Linearization) -> int:
    """Return the rank over trials and steps of what the weights multiply: how many modes it has."""
    return _all_modes(linearization)[2]


def _all_modes(linearization: Linearization) -> tuple[FloatArray, FloatArray, int]:
    """Return the left singular vectors of V, its singular values, and its rank."""
    V = KroneckerCore(linearization)._flat_features
    left, sigma, _ = scipy.linalg.svd(V, full_matrices=False, check_finite=False)
    rounding = float(np.finfo(linearization.dtype).eps) * max(V.shape)
    return left, sigma, int(np.count_nonzero(sigma > rounding * sigma[0]))


def _leading_modes(linearization: Linearization, n_modes: int) -> tuple[FloatArray, float]:
    """Return the leading left singular vectors of V, ``(B T, n_modes)``, and their share in it."""
    left, sigma, rank = _all_modes(linearization)
    n_modes = check_integer(n_modes, "n_modes")
    if n_modes > rank:
        raise InputError(
            f"n_modes must be at most the rank of what the weights multiply over trials and steps, "
            f"which is {rank} here; got {n_modes}. Further modes would be any directions."
        )
    squares = np.square(sigma)
    return left[:, :n_modes], float(squares[:n_modes].sum() / squares.sum())


def _shares(modes: FloatArray, moves: FloatArray) -> FloatArray:
    """Return the share of each column of moves ``(B, T, N, k)`` in the modes; NaN of no move."""
    scaled, _ = over_power_of_two(moves.astype(np.float64, copy=False))
    block = scaled.reshape(len(modes), -1, moves.shape[-1])
    inside = (modes.T @ block.reshape(len(modes), -1)).reshape(-1, *block.shape[1:])
    kept, whole = (np.einsum("muk,muk->k", each, each) for each in (inside, block))
    shares: FloatArray = np.full(len(whole), np.nan)
    np.divide(kept, whole, out=shares, where=whole > 0)
    return shares


def _mean_share(kernel: StructuredOperator, modes: FloatArray, errors: FloatArray) -> Estimate:
    """Return the mean share of the moves that random errors ``(B, T, N, k)`` cause."""
    count = errors.shape[-1]
    shares = np.concatenate(
        [
            _shares(modes, kernel.apply(errors[..., first:last]))
            for first, last in chunks(count, PRODUCT_COLUMNS)
        ]
    )
    found = mean_of_probes(shares, 0.0, size=kernel.shape[0], dtype=kernel.dtype, positive=True)
    spent = kernel.product_cost(min(count, PRODUCT_COLUMNS))
    one = kernel.product_cost(1)
    cost = None
    if spent is not None and one is not None:
        cost = Cost(count * one.flops, spent.memory_bytes + float(errors.nbytes))
    return Estimate(
        found.value,
        max(found.lower, 0.0),
        min(found.upper, max(1.0, found.value)),
        found.standard_error,
        "sampled",
        count,
        "share in the leading modes",
        confidence=CONFIDENCE,
        cost=cost,
    )
