"""Estimators that can be continued, by name, and how long to continue them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from .hutch_plus_plus import HutchPlusPlus
from .hutchinson import Hutchinson
from .sampled import SampledTrace
from .xnystrace import XNysTrace
from .xtrace import XTrace


class RunningEstimate(Protocol):
    """An estimate that more products improve.

    Attributes
    ----------
    used : int
        Products spent.
    first_look : int
        Products before which an adaptive estimate should not stop.
    complete : bool
        Whether the result is exact, so that more products bring nothing.
    work : tuple of float
        Flops beside the products, and bytes kept.
    """

    used: int
    first_look: int
    complete: bool

    def extend(self, n_matvecs: int) -> None:
        """Spend at most so many products more."""

    def result(self) -> SampledTrace:
        """Return the estimate so far."""

    @property
    def work(self) -> tuple[float, float]:
        """Flops beside the products, and bytes kept."""


ESTIMATORS: dict[str, Callable[[Any, np.random.Generator], RunningEstimate]] = {
    "hutchinson": Hutchinson,
    "hutch++": HutchPlusPlus,
    "xtrace": XTrace,
    "xnystrace": XNysTrace,
    "one-sided-forward": Hutchinson,
    "one-sided-reverse": Hutchinson,
}


def run(estimate: RunningEstimate, n_matvecs: int, rtol: float | None) -> SampledTrace:
    """Spend a budget, or as much of it as a relative accuracy takes.

    Parameters
    ----------
    estimate : RunningEstimate
        A fresh one.
    n_matvecs : int
        Products that may be spent.
    rtol : float or None
        Stop when half the width of the 95 % interval is at most this times the value; looked at
        after the estimate's first look and at each doubling. None spends the whole budget.

    Returns
    -------
    SampledTrace
        Its interval tells whether the accuracy was reached. That the samples decide when to
        stop costs a little: with at least 16 of them, the intervals were measured to hold the
        truth for 91 % or more of 200 seeds.
    """
    if rtol is None:
        estimate.extend(n_matvecs)
        return estimate.result()
    estimate.extend(min(estimate.first_look, n_matvecs))
    while True:
        found, spent = estimate.result(), estimate.used
        reached = found.upper - found.lower <= 2.0 * rtol * abs(found.value)
        if reached or estimate.complete or spent >= n_matvecs:
            return found
        estimate.extend(min(spent, n_matvecs - spent))
        if estimate.used == spent:
            return found
