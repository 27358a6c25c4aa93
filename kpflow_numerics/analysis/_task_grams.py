"""What is made of one column for each task: which trials are whose, Gram matrices, cosines."""

from __future__ import annotations

import numpy as np

from .._typing import ArrayLike, FloatArray, IntArray
from .._validation import InputError, InputTypeError


def check_task_ids(task_ids: ArrayLike, n_trials: int) -> IntArray:
    """Return the task of each trial, if every number up to the largest has a trial."""
    ids = np.asarray(task_ids)
    if ids.dtype.kind not in "iu":
        raise InputTypeError(f"task_ids must be integers; got dtype {ids.dtype}.")
    if ids.shape != (n_trials,):
        raise InputError(
            f"task_ids must have shape ({n_trials},), one for each trial; got {ids.shape}."
        )
    ids = ids.astype(np.int64)
    if ids.min() < 0:
        raise InputError(f"task_ids must count from 0; got {ids.min()}.")
    present = np.unique(ids)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if gaps.size:
        raise InputError(
            f"task_ids names no trial of task {gaps[0]}, but one of task {ids.max()}; number "
            "the tasks without gaps, e.g. by np.unique(task_ids, return_inverse=True)."
        )
    return ids


def gram(columns: FloatArray) -> FloatArray:
    """Return the inner products of columns ``(..., M)``, in float64."""
    flat = columns.reshape(-1, columns.shape[-1]).astype(np.float64, copy=False)
    return flat.T @ flat


def cosines(gram: FloatArray) -> FloatArray:
    """Return a Gram matrix over the norms of both; NaN where one of them vanishes."""
    norms = np.sqrt(gram.diagonal())
    scale = np.multiply.outer(norms, norms)
    found: FloatArray = np.full_like(gram, np.nan)
    np.divide(gram, scale, out=found, where=scale > 0)
    return found
