"""What an analysis may hold of kernel and moves beside the activity, each with its controls."""

from __future__ import annotations

import numpy as np

from .._typing import Params
from .._validation import InputError
from ..linearization import Linearization
from ..results import Cost, Estimate
from ..tasks import TrialBatch
from ..training import state_error
from .core_comparison import core_against_kernel
from .quantities import OperatorQuantity
from .self_reference import activity_rank, self_referential_bias

CORE_COSINE = "core-cosine"
"""What :func:`analyze_network` accepts among its ``quantities`` for :func:`core_quantities`."""

SELF_REFERENCE = "self-reference"
"""The same for :func:`self_reference_quantities`."""

COSINE = "cosine over trials and steps"
"""Name of the cosines of NTK and K, averaged over units, with the core and with ones."""

CENTRED_COSINE = "centred cosine over trials and steps"
"""Name of those of what is left when the means of rows and columns are taken away."""

MODE_SHARE = "share in the leading modes"
"""Name of the shares of moves in the leading modes of the activity."""

MOST_MODES = 5
"""Modes of the activity that shares are of, where it has as many."""

CONTROLS = frozenset({"ones", "dh of random errors", "dh of random output errors", "chance"})
"""What stands among the operators of a quantity that is there to be compared with."""


def core_quantities(linearization: Linearization, max_memory: float) -> list[OperatorQuantity]:
    """Return the cosines of :func:`core_against_kernel`, of which those with ones are the control.

    The kernel takes as many products as the network has parameters, or states where these are
    fewer, whatever their number: who asks for it wants it.
    """
    found = core_against_kernel(
        linearization, max_products=linearization.n_parameters, max_memory=max_memory
    )
    of_cosines = {
        ("NTK", "core"): found.kernel_core,
        ("K", "core"): found.parameter_core,
        ("NTK", "ones"): found.kernel_ones,
        ("K", "ones"): found.parameter_ones,
        ("core", "ones"): found.core_ones,
    }
    of_centred = {
        ("NTK", "core"): found.kernel_core_centred,
        ("K", "core"): found.parameter_core_centred,
    }
    # All come from the same two partial traces, which are counted with the first.
    spent = {("NTK", "core"): (found.n_matvecs, found.cost)}
    return [
        OperatorQuantity(COSINE, of, _exact(value, COSINE, *spent.get(of, (0, None))))
        for of, value in of_cosines.items()
    ] + [
        OperatorQuantity(CENTRED_COSINE, of, _exact(value, CENTRED_COSINE))
        for of, value in of_centred.items()
    ]


def self_reference_quantities(
    linearization: Linearization,
    readout: Params | None,
    batch: TrialBatch,
    max_memory: float,
    rng: np.random.Generator,
) -> list[OperatorQuantity]:
    """Return the shares of :func:`self_referential_bias`; random errors are the control.

    The modes are five, or as many as the activity has.

    Raises
    ------
    InputError
        If there is no readout, and so no error.
    """
    if readout is None:
        raise InputError(
            f"The quantity {SELF_REFERENCE!r} needs a readout, which this network lacks."
        )
    error = state_error(linearization.trajectory, readout, batch)
    found = self_referential_bias(
        linearization,
        error,
        n_modes=min(MOST_MODES, activity_rank(linearization)),
        rng=rng,
        readout=readout,
        max_memory=max_memory,
    )
    assert found.random_output_errors is not None
    shares = {
        "dh": _exact(found.share, MODE_SHARE, 1),
        "dh of random errors": found.random_errors,
        "dh of random output errors": found.random_output_errors,
        "P P* err": _exact(found.without_bottleneck, MODE_SHARE, 1),
        "err": _exact(found.error, MODE_SHARE),
        "chance": _exact(found.chance, MODE_SHARE),
    }
    return [OperatorQuantity(MODE_SHARE, (of,), share) for of, share in shares.items()]


def _exact(value: float, name: str, n_matvecs: int = 0, cost: Cost | None = None) -> Estimate:
    return Estimate(value, value, value, 0.0, "exact", n_matvecs, name, cost=cost)
