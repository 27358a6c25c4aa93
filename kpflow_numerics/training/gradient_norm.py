"""The norm of a gradient, and its clipping."""

from __future__ import annotations

import numpy as np

from .._typing import Params
from .._validation import check_real

_CLIP_EPSILON = 1e-6


def gradient_norm(*gradients: Params) -> float:
    """Return the Euclidean norm of all gradients together, summed in ``float64``.

    Parameters
    ----------
    *gradients : dict of str to ndarray
        Gradients of groups of parameters, such as those of the cell and of the readout.
    """
    total = 0.0
    for group in gradients:
        for array in group.values():
            flat = array.ravel().astype(np.float64, copy=False)
            total += float(flat @ flat)
    return float(np.sqrt(total))


def clip_gradient_norm(
    gradients: Params, max_norm: float, norm: float | None = None
) -> tuple[Params, float]:
    """Return gradients whose norm is at most `max_norm`, and their norm before.

    All gradients are multiplied by ``min(1, max_norm / (norm + 1e-6))``, as by PyTorch's
    ``clip_grad_norm_``.

    Parameters
    ----------
    gradients : dict of str to ndarray
        The gradients, which are not changed.
    max_norm : float
        Largest norm that the result may have.
    norm : float, optional
        The norm of the gradients, where it is known.

    Returns
    -------
    gradients : dict of str to ndarray
        The clipped gradients.
    norm : float
        Euclidean norm of all of them together, before.

    Raises
    ------
    InputError, InputTypeError
        If `max_norm` is not a positive number.

    References
    ----------
    Pascanu, Mikolov, Bengio (2013), ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from kpflow_numerics.training import clip_gradient_norm
    >>> clipped, norm = clip_gradient_norm({"w": np.array([3.0, 4.0])}, max_norm=1.0)
    >>> clipped["w"].round(3), norm
    (array([0.6, 0.8]), 5.0)
    """
    max_norm = check_real(max_norm, "max_norm", minimum=0.0, open_minimum=True)
    if norm is None:
        norm = gradient_norm(gradients)
    factor = min(1.0, max_norm / (norm + _CLIP_EPSILON))
    return {key: np.asarray(array * factor) for key, array in gradients.items()}, norm
