"""The linear readout ``y = W h + b`` of the hidden states.

Its parameters are a dict with PyTorch's names and shapes: ``weight (O, H)`` and ``bias (O,)``. One
without a bias has no such entry: there is nothing to add, and nothing of it that could be trained.
They belong to the training problem, never to the cell's ``theta``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ._typing import DTypeLike, FloatArray, Params, ParamsLike, RNGLike
from ._validation import (
    InputError,
    InputTypeError,
    check_array,
    check_dtype,
    check_integer,
    check_rng,
    suggest,
)


def init_readout(
    n_units: int, n_outputs: int, rng: RNGLike = 0, dtype: DTypeLike = np.float64
) -> Params:
    """Draw the parameters of a readout as PyTorch's ``nn.Linear`` does, uniform in ``+-1/sqrt(H)``.

    Parameters
    ----------
    n_units, n_outputs : int
        Sizes ``H`` and ``O``.
    rng : int, SeedSequence or Generator
        Source of the random numbers. The draws are the same for both precisions.
    dtype : dtype_like
        ``float64`` or ``float32``.

    Returns
    -------
    dict of str to ndarray
        ``weight (O, H)`` and ``bias (O,)``.

    Raises
    ------
    InputError, InputTypeError
        If a size is not a positive integer, or `rng` or `dtype` cannot be used.

    Examples
    --------
    >>> from kpflow_numerics.training import init_readout
    >>> init_readout(8, 3, rng=5)["weight"].shape
    (3, 8)
    """
    n_units = check_integer(n_units, "n_units")
    n_outputs = check_integer(n_outputs, "n_outputs")
    dtype = check_dtype(dtype)
    generator = check_rng(rng)
    bound = 1.0 / np.sqrt(n_units)
    return {
        name: generator.uniform(-bound, bound, size=shape).astype(dtype)
        for name, shape in _shapes(n_units, n_outputs).items()
    }


def check_readout(
    readout: ParamsLike,
    n_units: int,
    n_outputs: int | None = None,
    *,
    dtype: DTypeLike | None = None,
    name: str = "readout",
) -> Params:
    """Return the parameters of a readout as arrays of one precision.

    Parameters
    ----------
    readout : mapping of str to array_like
        ``weight (O, H)`` and ``bias (O,)``, or the weight alone for a readout without bias.
    n_units : int
        Number of units ``H``.
    n_outputs : int, optional
        Number of outputs ``O``; without it, as many as the weight has rows.
    dtype : dtype_like, optional
        The precision to return; by default that of the arrays.
    name : str
        The argument's name, for the messages.

    Returns
    -------
    dict of str to ndarray
        With the entries that `readout` has.

    Raises
    ------
    InputError
        If the weight is missing, or an entry is unknown, of the wrong shape, NaN or infinite.
    InputTypeError
        If `readout` is not a mapping, or an entry is complex or not numeric.
    """
    if not isinstance(readout, Mapping):
        raise InputTypeError(
            f"{name} must map 'weight' and 'bias' to arrays; got {type(readout).__name__}."
        )
    for key in readout:
        if key not in ("weight", "bias"):
            raise InputError(
                f"{name} has an entry {key!r}; it takes weight (O, {n_units}) and bias (O,)."
                f"{suggest(str(key), ('weight', 'bias'))}"
            )
    if "weight" not in readout:
        raise InputError(f"{name} lacks 'weight'; it takes weight (O, {n_units}) and bias (O,).")
    n_rows = "O" if n_outputs is None else n_outputs
    weight = check_array(readout["weight"], f"{name}['weight']", (n_rows, n_units), dtype=dtype)
    if "bias" not in readout:
        return {"weight": weight}
    bias = check_array(readout["bias"], f"{name}['bias']", weight.shape[:1], dtype=dtype)
    precision = np.result_type(weight, bias)
    return {
        "weight": weight.astype(precision, copy=False),
        "bias": bias.astype(precision, copy=False),
    }


def apply_readout(readout: Params, hidden: FloatArray) -> FloatArray:
    """Return the outputs ``y = W h + b`` of hidden states.

    Parameters
    ----------
    readout : dict of str to ndarray
        ``weight (O, H)`` and, if there is one, ``bias (O,)``.
    hidden : ndarray, shape (B, T, H)
        What the readout sees: ``Trajectory.hidden``.

    Returns
    -------
    ndarray, shape (B, T, O)

    Notes
    -----
    ``2 B T H O`` flops. Nothing is checked: see :func:`check_readout`.

    Examples
    --------
    >>> import numpy as np
    >>> from kpflow_numerics.training import apply_readout, init_readout
    >>> apply_readout(init_readout(8, 3, rng=5), np.zeros((2, 5, 8))).shape
    (2, 5, 3)
    """
    outputs = hidden @ readout["weight"].T
    return outputs + readout["bias"] if "bias" in readout else outputs


def pull_back_output_error(readout: Params, output_error: FloatArray, n_state: int) -> FloatArray:
    """Return ``err = dloss/dh`` for ``dloss/dy``: the adjoint of the readout.

    Parameters
    ----------
    readout : dict of str to ndarray
        ``weight (O, H)`` and ``bias (O,)``.
    output_error : ndarray, shape (B, T, O)
        Derivative of the loss by the outputs.
    n_state : int
        State size ``N``. The part of the state that the readout does not see, an LSTM's ``c``,
        has no direct effect on the loss: its error is zero.

    Returns
    -------
    ndarray, shape (B, T, N)
    """
    weight = readout["weight"]
    if n_state == weight.shape[1]:
        return output_error @ weight
    error = np.zeros((*output_error.shape[:2], n_state), output_error.dtype)
    error[..., : weight.shape[1]] = output_error @ weight
    return error


def readout_gradient(readout: Params, hidden: FloatArray, output_error: FloatArray) -> Params:
    """Return the gradient of the loss by the readout's own parameters.

    Parameters
    ----------
    readout : dict of str to ndarray
        The readout, whose entries the gradient has.
    hidden : ndarray, shape (B, T, H)
        What the readout saw.
    output_error : ndarray, shape (B, T, O)
        Derivative of the loss by the outputs.

    Returns
    -------
    dict of str to ndarray
        ``weight (O, H)`` and, if there is one, ``bias (O,)``.
    """
    rows = output_error.reshape(-1, output_error.shape[-1])
    gradient: Params = {"weight": rows.T @ hidden.reshape(len(rows), -1)}
    if "bias" in readout:
        gradient["bias"] = rows.sum(axis=0)
    return gradient


def _shapes(n_units: int, n_outputs: int) -> dict[str, tuple[int, ...]]:
    return {"weight": (n_outputs, n_units), "bias": (n_outputs,)}
