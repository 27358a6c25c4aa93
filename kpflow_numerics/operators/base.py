"""The base of every operator: a SciPy ``LinearOperator`` that knows its axes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .._typing import DTypeLike, FloatArray
from .._validation import InputError, InputTypeError, MemoryLimitError
from ..core_compression import coarse_linearization
from ..linearization import Linearization
from ..results import Cost


class StructuredOperator(LinearOperator, ABC):
    """A real linear operator from arrays of shape `dims` to arrays of shape `dimsd`.

    A subclass writes two block methods, ``_apply_block`` on ``(*dims, k)`` and
    ``_apply_adjoint_block`` on ``(*dimsd, k)``; vector, block and adjoint products follow. SciPy's
    flat vectors are the arrays in C order.

    Parameters
    ----------
    dims, dimsd : tuple of int
        Shapes of what the operator takes and gives.
    dtype : dtype_like
        ``float64`` or ``float32``: the precision of every product. Arguments are cast to it.
    """

    self_adjoint: bool = False
    positive_semidefinite: bool = False
    n_blocks: int = 1
    """Equal diagonal blocks of which the operator consists: trials that it does not couple."""

    def __init__(self, dims: tuple[int, ...], dimsd: tuple[int, ...], dtype: DTypeLike) -> None:
        self.dims = tuple(dims)
        self.dimsd = tuple(dimsd)
        super().__init__(np.dtype(dtype), (int(np.prod(dimsd)), int(np.prod(dims))))

    @abstractmethod
    def _apply_block(self, block: FloatArray) -> FloatArray:
        """Return the product with a C-ordered block ``(*dims, k)`` as ``(*dimsd, k)``."""

    @abstractmethod
    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        """Return the adjoint's product with a C-ordered block ``(*dimsd, k)``."""

    def apply(self, array: FloatArray) -> FloatArray:
        """Return the product with an array ``dims``, or a block ``(*dims, k)``, in its shape."""
        return self._apply_shaped(array, self.dims, self.dimsd, self._apply_block)

    def apply_adjoint(self, array: FloatArray) -> FloatArray:
        """Return the adjoint's product with an array ``dimsd``, or a block ``(*dimsd, k)``."""
        return self._apply_shaped(array, self.dimsd, self.dims, self._apply_adjoint_block)

    def _apply_shaped(
        self,
        array: FloatArray,
        taken: tuple[int, ...],
        given: tuple[int, ...],
        product: Callable[[FloatArray], FloatArray],
    ) -> FloatArray:
        shape = np.shape(array)
        if shape[: len(taken)] != taken or len(shape) > len(taken) + 1:
            raise InputError(
                f"{self!r} takes an array of shape {taken} or {(*taken, 'k')}; got {shape}."
            )
        return product(self._block(array, taken)).reshape(*given, *shape[len(taken) :])

    def _matmat(self, X: FloatArray) -> FloatArray:
        return self._apply_block(self._block(X, self.dims)).reshape(self.shape[0], -1)

    def _rmatmat(self, X: FloatArray) -> FloatArray:
        return self._apply_adjoint_block(self._block(X, self.dimsd)).reshape(self.shape[1], -1)

    def _matvec(self, x: FloatArray) -> FloatArray:
        return self._matmat(x.reshape(-1, 1))[:, 0]

    def _rmatvec(self, x: FloatArray) -> FloatArray:
        return self._rmatmat(x.reshape(-1, 1))[:, 0]

    def _adjoint(self) -> LinearOperator:
        return self if self.self_adjoint else AdjointOperator(self)

    def _transpose(self) -> LinearOperator:
        return self._adjoint()

    def _block(self, X: Any, axes: tuple[int, ...]) -> FloatArray:
        array = np.asarray(X)
        if array.dtype.kind == "c":
            raise InputTypeError(
                f"{type(self).__name__} is real and takes real arrays; got dtype {array.dtype}. "
                "Apply it to the real and imaginary parts."
            )
        return np.ascontiguousarray(array, dtype=self.dtype).reshape(*axes, -1)

    def astype(self, dtype: DTypeLike) -> StructuredOperator | None:
        """Return the operator in another precision: every number that it is made of, rounded.

        Parameters
        ----------
        dtype : dtype_like
            ``float64`` or ``float32``.

        Returns
        -------
        StructuredOperator or None
            None where the operator cannot be made again along another linearisation.
        """
        linearization = getattr(self, "linearization", None)
        return None if linearization is None else self._along(linearization.astype(dtype))

    def coarse(self) -> StructuredOperator | None:
        """Return a cheaper operator near this, for solvers that refine what they find with it.

        Returns
        -------
        StructuredOperator or None
            In ``float32``, of a cell with weight sites also with the features of each site cut to
            what ``float32`` resolves, see :func:`kpflow_numerics.compress_core`; what acts on
            parameters then acts on fewer. None as for :meth:`astype`, and where features leave the
            range of ``float32``.
        """
        linearization = getattr(self, "linearization", None)
        coarse = None if linearization is None else coarse_linearization(linearization)
        return None if coarse is None else self._along(coarse)

    def _along(self, linearization: Linearization) -> StructuredOperator | None:  # noqa: ARG002
        """Return the same operator along another linearisation of the trajectory, or None."""
        return None

    def product_cost(self, k: int = 1) -> Cost | None:  # noqa: ARG002
        """Return what one product, or one adjoint product, with a block of `k` columns takes.

        Parameters
        ----------
        k : int
            Number of columns.

        Returns
        -------
        Cost or None
            Flops of its matrix-matrix products and bytes of its result and temporaries; None
            where they are not known, as for a cell that offers only Jacobian products.
        """
        return None

    def exact_inner_product_cost(self, other: Any) -> Cost | None:
        """Return what :meth:`exact_inner_product` takes, or None where there is none."""
        from ._inner_products import exact_inner_product_cost

        return exact_inner_product_cost(self, other)

    def exact_inner_product(self, other: Any) -> float | None:
        """Return ``tr(A B)`` with another operator on the same states, if it is in closed form."""
        from ._inner_products import exact_inner_product

        return exact_inner_product(self, other)

    def to_dense(self, max_size: int = 50_000_000) -> FloatArray:
        """Return the matrix of the operator.

        Parameters
        ----------
        max_size : int
            Largest number of entries that may be made.

        Returns
        -------
        ndarray, shape (prod(dimsd), prod(dims))

        Raises
        ------
        MemoryLimitError
            If the matrix has more entries than `max_size`.
        """
        size = self.shape[0] * self.shape[1]
        if size > max_size:
            raise MemoryLimitError(
                f"The matrix of {self!r} has {size:,} entries, more than max_size={max_size:,}. "
                "Use the operator's products, a smaller batch, or raise max_size."
            )
        return self.matmat(np.eye(self.shape[1], dtype=self.dtype))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dims} -> {self.dimsd}, {self.dtype})"


class AdjointOperator(StructuredOperator):
    """The adjoint of an operator, which keeps its axes."""

    def __init__(self, operator: StructuredOperator) -> None:
        super().__init__(operator.dimsd, operator.dims, operator.dtype)
        self.operator = operator
        self.n_blocks = operator.n_blocks

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self.operator._apply_adjoint_block(block)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self.operator._apply_block(block)

    def _adjoint(self) -> StructuredOperator:
        return self.operator

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes: as much as one of the operator."""
        return self.operator.product_cost(k)

    def __repr__(self) -> str:
        return f"{self.operator!r}.H"


class ScaledOperator(StructuredOperator):
    """A number times an operator, which keeps its axes."""

    def __init__(self, operator: StructuredOperator, factor: float) -> None:
        super().__init__(operator.dims, operator.dimsd, operator.dtype)
        self.operator = operator
        self.n_blocks = operator.n_blocks
        self.scale = self.dtype.type(factor)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self.scale * self.operator._apply_block(block)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self.scale * self.operator._apply_adjoint_block(block)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes, the scaling of the result included."""
        cost = self.operator.product_cost(k)
        if cost is None:
            return None
        entries = float(max(self.shape)) * k
        return Cost(cost.flops + entries, cost.memory_bytes + entries * self.dtype.itemsize)


def check_linearization(linearization: Linearization) -> Linearization:
    """Return `linearization` if it is one."""
    if not isinstance(linearization, Linearization):
        raise InputTypeError(
            "linearization must be a Linearization, as kpf.linearize(trajectory) returns it; got "
            f"{type(linearization).__name__}."
        )
    return linearization
