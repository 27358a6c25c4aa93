"""What an analysis may hold of the tangent kernel of the outputs."""

from __future__ import annotations

import numpy as np

from .._typing import Params
from .._validation import InputError
from ..linearization import Linearization
from ..operators import OutputKernel
from ..spectral import effective_rank, trace
from .quantities import SAMPLED_PRODUCTS, OperatorQuantity

OUTPUT_KERNEL = "output-kernel"
"""What :func:`analyze_network` accepts among its ``quantities`` for this."""

OUTPUT_RANK = "effective rank"
"""Name of the participation ratio of the kernel of the outputs in an analysis."""

OUTPUT_OPERATORS = {"cell": "output NTK, cell", "all": "output NTK, all parameters"}
"""Names of the kernel of the outputs, by whose parameters are moved."""


def output_quantities(
    linearization: Linearization,
    readout: Params | None,
    max_memory: float,
    rng: np.random.Generator,
) -> list[OperatorQuantity]:
    """Return trace and participation ratio of the kernel of the outputs, of the cell and of all.

    Raises
    ------
    InputError
        If there is no readout.
    """
    if readout is None:
        raise InputError(
            f"The quantity {OUTPUT_KERNEL!r} needs a readout, which this network lacks."
        )
    found = []
    for parameters, name in OUTPUT_OPERATORS.items():
        kernel = OutputKernel(linearization, readout, parameters=parameters)
        total = trace(kernel, n_matvecs=SAMPLED_PRODUCTS, max_memory=max_memory, rng=rng)
        rank = effective_rank(kernel, max_memory=max_memory, rng=rng)
        found += [
            OperatorQuantity("trace", (name,), total),
            OperatorQuantity(OUTPUT_RANK, (name,), rank),
        ]
    return found
