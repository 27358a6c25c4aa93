"""Checks made once, at the door of each public function.

Every message names the argument, what came, what is accepted and what to do.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

from ._errors import InputError, InputTypeError, MemoryLimitError, suggest
from ._typing import DTypeLike, FloatArray, RNGLike

__all__ = [
    "InputError",
    "InputTypeError",
    "MemoryLimitError",
    "check_array",
    "check_choice",
    "check_dtype",
    "check_integer",
    "check_real",
    "check_rng",
    "suggest",
]


def check_integer(value: Any, name: str, *, minimum: int = 1, maximum: int | None = None) -> int:
    """Return `value` as an ``int`` within the bounds."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InputTypeError(f"{name} must be an integer; got {value!r} ({type(value).__name__}).")
    number = int(value)
    if number < minimum or (maximum is not None and number > maximum):
        bounds = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise InputError(f"{name} must be {bounds}; got {number}.")
    return number


def check_real(
    value: Any,
    name: str,
    *,
    minimum: float = -np.inf,
    maximum: float = np.inf,
    open_minimum: bool = False,
    open_maximum: bool = False,
) -> float:
    """Return `value` as a finite ``float`` within the bounds."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InputTypeError(
            f"{name} must be a real number; got {value!r} ({type(value).__name__})."
        )
    number = float(value)
    below = number <= minimum if open_minimum else number < minimum
    above = number >= maximum if open_maximum else number > maximum
    if not np.isfinite(number) or below or above:
        low = f"greater than {minimum:g}" if open_minimum else f"at least {minimum:g}"
        parts = [low] if np.isfinite(minimum) else []
        high = f"less than {maximum:g}" if open_maximum else f"at most {maximum:g}"
        parts += [high] if np.isfinite(maximum) else []
        raise InputError(f"{name} must be {' and '.join(['finite', *parts])}; got {value}.")
    return number


def check_flag(value: Any, name: str) -> bool:
    """Return `value` as a ``bool``."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputTypeError(
            f"{name} must be True or False; got {value!r} ({type(value).__name__})."
        )
    return bool(value)


def check_choice(value: Any, name: str, accepted: Iterable[str]) -> str:
    """Return `value` if it is one of the `accepted` words."""
    words = tuple(accepted)
    if not isinstance(value, str) or value not in words:
        listed = ", ".join(repr(word) for word in words)
        hint = suggest(value, words) if isinstance(value, str) else ""
        raise InputError(f"{name} must be one of {listed}; got {value!r}.{hint}")
    return value


def check_dtype(value: DTypeLike, name: str = "dtype") -> np.dtype[Any]:
    """Return `value` as ``float32`` or ``float64``."""
    try:
        dtype = np.dtype(value)
    except TypeError as error:
        raise InputTypeError(f"{name} must be float32 or float64; got {value!r}.") from error
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InputTypeError(f"{name} must be float32 or float64; got {dtype}.")
    return dtype


def check_array(
    value: Any,
    name: str,
    shape: tuple[int | str, ...] | None = None,
    *,
    dtype: DTypeLike | None = None,
    finite: bool = True,
) -> FloatArray:
    """Return `value` as a C-ordered real floating-point array of the given shape.

    Parameters
    ----------
    value : array_like
        What the user gave.
    name : str
        The argument's name, for the messages.
    shape : tuple of int or str, optional
        The accepted shape; a word stands for an axis of any positive length.
    dtype : dtype_like, optional
        The precision to return; without it ``float32`` and ``float64`` are kept and every
        other real type becomes ``float64``.
    finite : bool
        Whether NaN and infinity are refused.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError(
            f"{name} must have no masked entries; {np.ma.count_masked(value)} of its {value.size} "
            "are. Leave them out, or say what they are by its .filled(...)."
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name} must be a rectangular array; {error}.") from error
    except (TypeError, RuntimeError) as error:
        # A tensor of PyTorch that has a gradient, or is on another device.
        raise InputTypeError(
            f"{name} cannot be made an array of NumPy; {type(value).__name__} says: {error}"
        ) from error
    if array.dtype.kind == "c":
        raise InputTypeError(f"{name} must be real; got dtype {array.dtype}. Take its .real part.")
    if array.dtype.kind not in "biuf":
        is_one_object = array.dtype.kind == "O" and array.ndim == 0
        came = type(value).__name__ if is_one_object else f"dtype {array.dtype}"
        raise InputTypeError(f"{name} must be numeric; got {came}.")
    if shape is not None:
        fits = array.ndim == len(shape) and all(
            length > 0 if isinstance(want, str) else length == want
            for want, length in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = "(" + ", ".join(str(want) for want in shape) + ("," * (len(shape) == 1)) + ")"
            empty = " It is empty." if array.size == 0 else ""
            raise InputError(f"{name} must have shape {wanted}; got {array.shape}.{empty}")
    if dtype is None:
        kept = array.dtype in (np.dtype(np.float32), np.dtype(np.float64))
        dtype = array.dtype if kept else np.float64
    array = np.asarray(array, dtype=dtype, order="C")
    if finite and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError(
            f"{name} must be finite; {bad} of its {array.size} entries are NaN or infinite."
        )
    return array


def check_rng(rng: RNGLike | None, name: str = "rng") -> np.random.Generator:
    """Return a generator for a seed, a seed sequence or a generator."""
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, bool) or not isinstance(rng, (int, np.integer, np.random.SeedSequence)):
        raise InputTypeError(
            f"{name} must be an integer seed, a numpy.random.SeedSequence or a "
            f"numpy.random.Generator; got {rng!r}."
        )
    if isinstance(rng, (int, np.integer)) and rng < 0:
        raise InputError(f"{name} must be a seed of at least 0; got {rng}.")
    return np.random.default_rng(rng)
