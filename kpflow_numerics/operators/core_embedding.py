"""The coordinates of a compressed core as parameters of the linearisation that was compressed."""

from __future__ import annotations

import numpy as np

from .._typing import FloatArray
from ..core_compression import CompressedLinearization
from ..linearization import Linearization
from .base import StructuredOperator


class CoreEmbedding(StructuredOperator):
    """Orthonormal ``W`` with ``J W = J'``, from a core's coordinates to the parameters.

    J is that of the linearisation that was compressed, J' that of the core. Parameters that follow
    the cell's own, those of a readout, are left as they are. Always in ``float64``.

    Parameters
    ----------
    linearization : CompressedLinearization
        The core.
    n_more : int
        Number of parameters that follow the cell's.

    Notes
    -----
    Shape ``(p',) -> (p,)``, and ``W* W = I``. A product costs ``2 p' m k`` flops, with m features
    of each site.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> from kpflow_numerics.operators.core_embedding import CoreEmbedding
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> CoreEmbedding(kpf.compress_core(lin, 1e-6))
    CoreEmbedding((40,) -> (104,), float64)
    """

    def __init__(self, linearization: CompressedLinearization, n_more: int = 0) -> None:
        self.linearization = linearization
        n_core, n_whole = linearization.n_parameters, linearization.n_whole_parameters
        super().__init__((n_core + n_more,), (n_whole + n_more,), np.float64)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        n = self.linearization.n_parameters
        return _followed(self.linearization.whole_parameters(block[:n]), block[n:])

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        n = self.linearization.n_whole_parameters
        return _followed(self.linearization.core_parameters(block[:n]), block[n:])


def _followed(own: FloatArray, more: FloatArray) -> FloatArray:
    return np.concatenate([own, more]) if len(more) else own


def core_embedding(linearization: Linearization, n_more: int = 0) -> CoreEmbedding | None:
    """Return the embedding of a compressed linearisation, None for any other."""
    if not isinstance(linearization, CompressedLinearization):
        return None
    return CoreEmbedding(linearization, n_more)
