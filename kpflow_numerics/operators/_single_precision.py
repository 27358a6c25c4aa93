"""Certain bounds that are so wide that ``float32`` does for them, at half the price."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._typing import FloatArray
from ..cells.sites import WeightSites
from ..linearization import Linearization
from ._cut_core import rounding_error

MARGIN = 20
"""The width must be that many times what is allowed for rounding in ``float32``."""

_SMALLEST, _LARGEST = 1e-10, 1e10


def allows_single_precision(linearization: Linearization, width: float) -> bool:
    """Whether certain bounds of this relative width may be computed in ``float32``.

    Not so where the derivatives are so large or so small that products could leave the range.
    """
    sites = linearization.weight_sites
    if sites is None or width < MARGIN * rounding_error(np.float32, linearization.dims[2]):
        return False
    return all(_is_in_range(array) for array in _arrays(sites))


def _arrays(sites: WeightSites) -> Iterator[FloatArray]:
    yield from (sites.gains, sites.carry, sites.recurrent_weight)
    yield from (group.features for group in sites.groups)
    if sites.inner is not None:
        yield sites.inner


def _is_in_range(array: FloatArray) -> bool:
    largest = max(float(np.max(array, initial=0.0)), -float(np.min(array, initial=0.0)))
    return largest == 0 or _SMALLEST <= largest <= _LARGEST
