"""A cell whose step is a user's own function, differentiated by autograd."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

import numpy as np

from .._typing import FloatArray, Params
from .._validation import InputError, InputTypeError, check_integer
from .base import Cell

Step: TypeAlias = Callable[[Mapping[str, Any], Any, Any], Any]

# Entries of one array of tiled points: 8 MiB in float64, times what the step's graph keeps.
_TILED_ENTRIES = 2**20

_HOW_TO_WRITE = (
    "Write every function of the step with autograd.numpy (anp.where, not np.where), and assign to "
    "no element of an array."
)


@dataclass(frozen=True, init=False, repr=False)
class AutogradCell(Cell):
    """Cell with a step of the user's own, ``h_t = step(params, x_t, h_{t-1})``.

    Simulation, linearisation and every operator work as for the other cells, more slowly, and
    without the closed forms that weight sites allow.

    Parameters
    ----------
    step : callable
        ``step(params, x, h) -> h_next``, written with ``autograd.numpy``. It must treat the rows
        of its arguments one by one: ``x (M, I)`` and ``h (M, N)`` give ``(M, N)``, so that a
        matrix acts as ``h @ W.T``, never as ``W @ h``. `params` maps names to arrays. The result
        has the precision of the arguments, float64 or float32.
    parameter_shapes : mapping of str to tuple of int
        Name and shape of each parameter, in the order of the flat parameter vector; ``()`` is a
        number.
    n_inputs, n_units : int
        Sizes ``I`` and ``H``. A step without inputs may ignore ``x``.
    n_state : int, optional
        State size ``N``, at least ``H``; by default ``H``. A readout sees the first ``H``.
    name : str, optional
        What tables and files call the step; by default the function's own name.

    Raises
    ------
    InputTypeError
        If `step` cannot be called, or `parameter_shapes` is not a mapping of names to shapes.
    InputError
        If a size is not positive, or there is no parameter.

    Notes
    -----
    The step is checked at a few points of every simulation: shape, precision, finite values,
    that no row sees another, and that autograd can follow it: functions of NumPy's own, such as
    ``np.where``, lose derivatives without a word. A product of the state Jacobian with ``k``
    columns differentiates the step once at ``min(k, N)`` copies of every point; one of the
    parameter Jacobian, once for each column. Functions of autograd that lack a forward rule are
    differentiated twice backward.
    ``init_params`` draws every parameter uniform in ``+-1/sqrt(H)``.

    Examples
    --------
    >>> import autograd.numpy as anp
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> def softplus_rnn(params, x, h):
    ...     return anp.logaddexp(0.0, x @ params["w_in"].T + h @ params["w_rec"].T)
    >>> shapes = {"w_in": (8, 3), "w_rec": (8, 8)}
    >>> cell = kpf.AutogradCell(softplus_rnn, shapes, n_inputs=3, n_units=8)
    >>> cell
    AutogradCell('softplus_rnn', n_inputs=3, n_units=8)
    >>> traj = kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3)))
    >>> kpf.TangentKernel(kpf.linearize(traj))
    TangentKernel((2, 5, 8) -> (2, 5, 8), float64)
    """

    step: Step
    shape_items: tuple[tuple[str, tuple[int, ...]], ...]
    state_size: int
    name: str

    kind: ClassVar[str] = "autograd"

    def __init__(
        self,
        step: Step,
        parameter_shapes: Mapping[str, tuple[int, ...]],
        n_inputs: int,
        n_units: int,
        *,
        n_state: int | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(step):
            raise InputTypeError(
                f"step must be a function step(params, x, h) -> h_next; got {type(step).__name__}."
            )
        if name is None:
            name = getattr(step, "__name__", type(step).__name__)
        elif not isinstance(name, str):
            raise InputTypeError(f"name must be a string; got {name!r}.")
        n_inputs = check_integer(n_inputs, "n_inputs")
        n_units = check_integer(n_units, "n_units")
        if n_state is None:
            n_state = n_units
        values = {
            "n_inputs": n_inputs,
            "n_units": n_units,
            "step": step,
            "shape_items": _check_shapes(parameter_shapes),
            "state_size": check_integer(n_state, "n_state", minimum=n_units),
            "name": name,
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)

    @property
    def n_state(self) -> int:
        """State size ``N``."""
        return self.state_size

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, in the order of the flat parameter vector."""
        return dict(self.shape_items)

    def settings(self) -> dict[str, Any]:
        """Return what a file can hold: all but the step itself, of which it keeps the name."""
        return {
            "name": self.name,
            "parameter_shapes": {name: list(shape) for name, shape in self.shape_items},
            "n_inputs": self.n_inputs,
            "n_units": self.n_units,
            "n_state": self.n_state,
        }

    def __repr__(self) -> str:
        state = "" if self.n_state == self.n_units else f", n_state={self.n_state}"
        return (
            f"AutogradCell({self.name!r}, n_inputs={self.n_inputs}, n_units={self.n_units}{state})"
        )

    def simulate_states(
        self, params: Params, inputs: FloatArray, initial: FloatArray
    ) -> FloatArray:
        """Return the states ``(B, T, N)`` for ``inputs (B, T, I)`` from ``initial (B, N)``.

        Raises
        ------
        InputError
            If the step fails, gives another shape, sees other rows, is not finite, or cannot be
            differentiated.
        InputTypeError
            If it gives another precision.
        """
        self._check_step(params, inputs, initial)
        states = np.empty((*inputs.shape[:2], self.n_state), inputs.dtype)
        h = initial
        with np.errstate(over="ignore", invalid="ignore"):
            for t in range(inputs.shape[1]):
                h = self.step(params, inputs[:, t], h)
                states[:, t] = h
        return states

    def state_jvp(
        self, params: Params, inputs: FloatArray, previous: FloatArray, block: FloatArray
    ) -> FloatArray:
        """Return ``A block`` for ``M`` points: ``(M, I), (M, N), (M, N, k) -> (M, N, k)``."""
        if block.shape[-1] > self.n_state:
            return self._jacobians(params, inputs, previous) @ block
        out = np.empty(block.shape, block.dtype)
        for columns, x, h, v in _tiles(inputs, previous, block):
            push_forward = _push_forward(partial(self.step, params, x), h)
            out[..., columns] = _untile(push_forward(v), len(inputs))
        return out

    def state_vjp(
        self, params: Params, inputs: FloatArray, previous: FloatArray, block: FloatArray
    ) -> FloatArray:
        """Return ``A* block`` for ``M`` points: ``(M, I), (M, N), (M, N, k) -> (M, N, k)``."""
        if block.shape[-1] > self.n_state:
            return self._jacobians(params, inputs, previous).swapaxes(1, 2) @ block
        out = np.empty(block.shape, block.dtype)
        for columns, x, h, v in _tiles(inputs, previous, block):
            pull_back = _pull_back(partial(self.step, params, x), h)
            out[..., columns] = _untile(pull_back(v), len(inputs))
        return out

    def param_jvp(
        self, params: Params, inputs: FloatArray, previous: FloatArray, block: FloatArray
    ) -> FloatArray:
        """Return ``(df/dtheta) block`` for ``M`` points: ``(p, k) -> (M, N, k)``."""
        out = np.empty((*previous.shape, block.shape[-1]), block.dtype)
        push_forward = _push_forward(lambda q: self.step(q, inputs, previous), params)
        for j in range(block.shape[-1]):
            out[..., j] = push_forward(self.layout.unpack(block[:, j]))
        return out

    def param_vjp(
        self, params: Params, inputs: FloatArray, previous: FloatArray, block: FloatArray
    ) -> FloatArray:
        """Return the sum over ``M`` points of ``(df/dtheta)* block``: ``(M, N, k) -> (p, k)``."""
        pull_back = _pull_back(lambda q: self.step(q, inputs, previous), params)
        out = np.empty((self.n_parameters, block.shape[-1]), block.dtype)
        for j in range(block.shape[-1]):
            out[:, j] = self.layout.pack(pull_back(np.ascontiguousarray(block[..., j])))
        return out

    def _jacobians(self, params: Params, inputs: FloatArray, previous: FloatArray) -> FloatArray:
        """Return ``A (M, N, N)``, no larger than the block that it is made for."""
        identity = np.eye(self.n_state, dtype=previous.dtype)
        block = np.broadcast_to(identity, (len(previous), *identity.shape))
        return self.state_jvp(params, inputs, previous, block)

    def _check_step(self, params: Params, inputs: FloatArray, initial: FloatArray) -> None:
        """Check the step at a few points, one by one along a short path and then together."""
        # A number of rows that no other axis has, so that a transposed product cannot fit.
        taken = {self.n_inputs, self.n_units, self.n_state}
        n_rows = next(count for count in range(2, 6) if count not in taken)
        flat = inputs.reshape(-1, self.n_inputs)
        x = flat[np.linspace(0, len(flat) - 1, n_rows).astype(int)]
        path = [initial[:1]]
        for i in range(n_rows):
            path.append(self._call(params, x[[i]], path[-1]))
        alone = np.concatenate(path[1:])
        together = self._call(params, x, np.concatenate(path[:-1]))
        scale = max(float(np.abs(alone).max()), float(np.finfo(alone.dtype).tiny))
        error = float(np.abs(together - alone).max()) / scale
        if error > np.sqrt(np.finfo(alone.dtype).eps):
            raise InputError(
                f"{self._named} must treat the rows of its arguments one by one; {n_rows} rows "
                f"together and alone differ by {error:.1e} of the largest state. Sum and "
                "normalise over the last axis only."
            )
        self._check_traced(params, x, np.concatenate(path[:-1]))

    def _check_traced(self, params: Params, x: FloatArray, h: FloatArray) -> None:
        """Refuse what autograd cannot follow, such as functions of NumPy's own.

        Some of these, ``np.where`` or ``np.clip``, take the boxes that autograd traces with for
        Python objects: the step runs, and its derivatives are wrong, or zero.
        """
        import autograd

        traced: list[Any] = []

        def step(arguments: tuple[Params, FloatArray]) -> Any:
            traced.append(self.step(arguments[0], x, arguments[1]))
            return traced[-1]

        try:
            with np.errstate(all="ignore"), independence_allowed():
                pull_back, _ = autograd.make_vjp(step)((params, h))
        except Exception as error:
            raise self._not_differentiable(error) from error
        is_box = autograd.tracer.isbox
        value = traced[-1]._value if is_box(traced[-1]) else traced[-1]
        # What np.ones_like makes of a box is of objects, too, and as a whole step a right constant.
        mixed = is_box(traced[-1]) or any(map(is_box, value.flat))
        if value.dtype == np.dtype(object) and mixed:
            raise InputError(
                f"{self._named} loses its derivatives in a function of NumPy that autograd does "
                f"not see, such as np.where, np.clip or np.concatenate. {_HOW_TO_WRITE}"
            )
        try:
            with np.errstate(all="ignore"):
                pull_back(np.ones_like(h))
                _push_forward(partial(self.step, params, x), h)(h)
                _push_forward(lambda q: self.step(q, x, h), params)(params)
        except Exception as error:
            raise self._not_differentiable(error) from error

    def _not_differentiable(self, error: Exception) -> InputError:
        return InputError(
            f"{self._named} cannot be differentiated; autograd says {type(error).__name__}: "
            f"{error}. {_HOW_TO_WRITE}"
        )

    def _call(self, params: Params, x: FloatArray, h: FloatArray) -> FloatArray:
        try:
            with np.errstate(all="ignore"):
                result = self.step(params, x, h)
        except Exception as error:
            raise InputError(
                f"{self._named} failed on x of shape {x.shape} and h of shape {h.shape} with "
                f"{type(error).__name__}: {error}. {self._rows_hint(params, x, h)}"
            ) from error
        if not isinstance(result, np.ndarray) or result.shape != h.shape:
            came = f"shape {np.shape(result)}" if hasattr(result, "shape") else repr(type(result))
            raise InputError(
                f"{self._named} must give the next states {h.shape} for x {x.shape} and h "
                f"{h.shape}; got {came}. {self._rows_hint(params, x, h)}"
            )
        if result.dtype != h.dtype:
            raise InputTypeError(
                f"{self._named} must give {h.dtype} for {h.dtype} arguments; got {result.dtype}. "
                "Constants of NumPy's own float64 raise the precision: write them as Python "
                f"numbers or cast them, or give parameters in {result.dtype}."
            )
        if not np.isfinite(result).all():
            raise InputError(
                f"{self._named} gives NaN or infinity in its first steps from h0, where all its "
                "arguments are finite."
            )
        return result

    @property
    def _named(self) -> str:
        return f"The step {self.name!r} of the AutogradCell"

    def _rows_hint(self, params: Params, x: FloatArray, h: FloatArray) -> str:
        """Say so if the step seems to be written for single vectors."""
        try:
            works = np.shape(self.step(params, x[0], h[0])) == h[0].shape
        except Exception:
            works = False
        if works:
            return (
                "It works on single vectors, but must take rows of them: write h @ W.T in place "
                "of W @ h, and x[..., 0] in place of x[0]."
            )
        return "It takes params, rows of inputs (M, I) and rows of states (M, N)."


def _check_shapes(shapes: Any) -> tuple[tuple[str, tuple[int, ...]], ...]:
    if not isinstance(shapes, Mapping):
        raise InputTypeError(
            f"parameter_shapes must map parameter names to shapes; got {type(shapes).__name__}."
        )
    if not shapes:
        raise InputError("parameter_shapes must name at least one parameter; it is empty.")
    items = []
    for name, shape in shapes.items():
        if not isinstance(name, str) or not isinstance(shape, (tuple, list)):
            raise InputTypeError(
                "parameter_shapes must map names to tuples of integers, such as {'w': (8, 3)}; "
                f"got {name!r}: {shape!r}."
            )
        lengths = tuple(check_integer(length, f"parameter_shapes[{name!r}]") for length in shape)
        items.append((name, lengths))
    return tuple(items)


def _tiles(
    inputs: FloatArray, previous: FloatArray, block: FloatArray
) -> Iterator[tuple[slice, FloatArray, FloatArray, FloatArray]]:
    """Yield some columns of ``block (M, N, k)`` as rows ``(c M, N)``, the points repeated."""
    n_points, n_state, k = block.shape
    chunk = max(1, _TILED_ENTRIES // (n_points * n_state))
    for first in range(0, k, chunk):
        columns = slice(first, min(first + chunk, k))
        rows = np.moveaxis(block[..., columns], -1, 0).reshape(-1, n_state)
        copies = columns.stop - first
        yield columns, np.tile(inputs, (copies, 1)), np.tile(previous, (copies, 1)), rows


def _untile(rows: FloatArray, n_points: int) -> FloatArray:
    return np.moveaxis(rows.reshape(-1, n_points, rows.shape[-1]), 0, -1)


def _pull_back(function: Callable[[Any], Any], at: Any) -> Callable[[FloatArray], Any]:
    """Return the map from a cotangent to its product with the adjoint of the Jacobian."""
    import autograd

    with independence_allowed():
        pull_back, _ = autograd.make_vjp(function)(at)
    return pull_back


def _push_forward(function: Callable[[Any], Any], at: Any) -> Callable[[Any], FloatArray]:
    """Return the map from a direction to its product with the Jacobian."""
    import autograd

    forward = autograd.make_jvp(function)(at)
    twice: Callable[[Any], FloatArray] | None = None

    def product(direction: Any) -> FloatArray:
        nonlocal twice
        if twice is None:
            try:
                with independence_allowed():
                    return forward(direction)[1]
            except NotImplementedError:
                # Autograd lacks the forward rule of something in the step. The adjoint product is
                # linear in its cotangent; the adjoint of that map is the product wanted here.
                cotangent = np.zeros_like(function(at))
                twice = _pull_back(_pull_back(function, at), cotangent)
        return twice(direction)

    return product


@contextmanager
def independence_allowed() -> Iterator[None]:
    """Let a step ignore the parameters or the state, of which autograd warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent of input", UserWarning)
        yield
