"""The self-adjoint operator whose spectrum is meant, with its products counted and checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from .._typing import FloatArray
from .._validation import InputError, InputTypeError, check_array
from ..results import Cost
from ..testing import default_tolerance
from ._budget import EXACT_FLOPS, ask_exact
from ._orthogonal import column_norms
from ._scale import OutOfScaleError, RescaledOperator, largest_scale, norm_of, original

PRODUCT_COLUMNS = 64
"""Columns that are given to an operator at once, so that its own memory stays bounded."""

_PROBE_SEED = 20_260_101

# An operator that is so near to its adjoint is hardly meant by its singular values, whose squares
# would silently stand in the place of its eigenvalues.
_NEARLY = 1e-4


class ProductCounter:
    """Products made so far, and what they took where the operators tell it.

    Attributes
    ----------
    columns : int
        Products of single columns.
    flops, memory_bytes : float
        Of all products, and of the largest block.
    known : bool
        Whether every operator that was multiplied knows its ``product_cost``.
    watched : bool
        Whether the sizes of products are still looked at.
    """

    def __init__(self, *, watched: bool = True) -> None:
        self.watched = watched
        self.columns = 0
        self.flops = 0.0
        self.memory_bytes = 0.0
        self.known = True

    def add(self, columns: int, cost: Cost | None) -> None:
        """Count a block product."""
        self.columns += columns
        if cost is None:
            self.known = False
        else:
            self.flops += cost.flops
            self.memory_bytes = max(self.memory_bytes, cost.memory_bytes)


class CountedOperator:
    """Block products with an operator, counted, checked for NaN and made in bounded chunks.

    Parameters
    ----------
    operator : LinearOperator, shape (n, p)
        Any real operator.
    counter : ProductCounter
        Where the products are counted; several operators may share it.
    squared : bool
        Whether it is the Gram operator whose spectrum is meant.
    """

    def __init__(
        self, operator: LinearOperator, counter: ProductCounter, *, squared: bool = False
    ) -> None:
        self.operator = operator
        self.shape: tuple[int, int] = operator.shape
        self.dtype = float_dtype(operator)
        self._counter = counter
        self.squared = squared
        self._watched = not isinstance(operator, RescaledOperator)
        self._seen = False

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a block product takes, where the operator tells it."""
        tell = getattr(self.operator, "product_cost", None)
        cost: Cost | None = None if tell is None else tell(k)
        return cost

    def matmat(self, X: FloatArray) -> FloatArray:
        """Return ``A X`` for X of shape ``(p, k)``."""
        return self._products(self.operator.matmat, X, self.shape[0])

    def rmatmat(self, X: FloatArray) -> FloatArray:
        """Return ``A* X`` for X of shape ``(n, k)``."""
        try:
            return self._products(self.operator.rmatmat, X, self.shape[1])
        except (NotImplementedError, TypeError) as error:
            # SciPy calls the missing function of an operator made from functions.
            if isinstance(error, TypeError) and "'NoneType' object is not" not in str(error):
                raise
            raise InputError(
                f"op ({type(self.operator).__name__}) has no adjoint product, which is needed "
                "here; give it rmatvec or rmatmat, or pass self_adjoint=True if it is."
            ) from error

    def _products(self, multiply: Any, X: FloatArray, rows: int) -> FloatArray:
        X = np.ascontiguousarray(X, dtype=self.dtype)
        columns = X.shape[1]
        if columns <= PRODUCT_COLUMNS:
            return self._product(multiply, X)
        result = np.empty((rows, columns), dtype=self.dtype)
        for first in range(0, columns, PRODUCT_COLUMNS):
            chunk = slice(first, first + PRODUCT_COLUMNS)
            result[:, chunk] = self._product(multiply, np.ascontiguousarray(X[:, chunk]))
        return result

    def _product(self, multiply: Any, X: FloatArray) -> FloatArray:
        self._counter.add(X.shape[1], self.product_cost(X.shape[1]))
        with np.errstate(over="ignore", invalid="ignore"):
            Y = np.asarray(multiply(X), dtype=self.dtype)
        size = _largest(Y)
        if self._watched and self._counter.watched:
            given = _largest(X)
            if given > 0:
                self._check_scale(size / given)
        if not math.isfinite(size):
            raise InputError(
                f"op ({type(original(self.operator)).__name__}, {self.dtype}) gave NaN or infinite "
                "entries in a product. Its states or parameters hold them, or the product "
                "overflows: check the trajectory, or use float64."
            )
        return Y

    def _check_scale(self, ratio: float) -> None:
        """Raise OutOfScaleError if squares of the operator would overflow or vanish.

        Of small products only the first tells anything, and a random vector is asked before.
        """
        largest = largest_scale(self.dtype) ** (0.5 if self.squared else 1.0)
        if self._seen and ratio <= largest:
            return
        self._seen = True
        if 1 / largest <= ratio <= largest:
            return
        norm, products = norm_of(self.operator, self.dtype)
        for _ in range(products):
            self._counter.add(1, self.product_cost())
        if 0 < norm < math.inf and not 1 / largest <= norm <= largest:
            raise OutOfScaleError(
                f"op ({type(self.operator).__name__}, {self.dtype}) has a norm of about "
                f"{norm:.1e}, whose squares are out of range or whose products overflow: scale "
                "inputs or parameters, or use float64.",
                self._counter.columns,
            )
        self._watched = False


class SpectralView:
    """What the spectral functions see: A itself if it is self-adjoint, otherwise ``A A*``.

    Parameters
    ----------
    operator : LinearOperator, array_like or sparse matrix
        What the user gave.
    self_adjoint : bool, optional
        Whether A is self-adjoint. By default the operator's own flag; an operator without one is
        tested by four random products (with a fixed seed), which find any asymmetry above
        rounding with probability one; one of less than 1e-4 of the entries is refused.
    positive_semidefinite : bool, optional
        Whether no eigenvalue is negative. By default the operator's own flag, and False where it
        has none.
    counter : ProductCounter, optional
        Where the products are counted, if together with those of another view.

    Attributes
    ----------
    n : int
        Size of the self-adjoint operator.
    factor : CountedOperator or None
        L with ``L L*`` equal to the self-adjoint operator, where one is known.
    norm_estimate : float
        Largest ``|A x| / |x|`` met so far: a lower bound of the norm.
    """

    def __init__(
        self,
        operator: Any,
        *,
        self_adjoint: bool | None = None,
        positive_semidefinite: bool | None = None,
        counter: ProductCounter | None = None,
    ) -> None:
        self.operator = as_operator(operator)
        self._counter = ProductCounter() if counter is None else counter
        self._products = CountedOperator(self.operator, self._counter)
        self.n: int = self.operator.shape[0]
        self.dtype = self._products.dtype
        self.norm_estimate = 0.0
        if self_adjoint is None:
            self_adjoint = getattr(self.operator, "self_adjoint", None)
        if self_adjoint is None:
            self_adjoint = self._seems_self_adjoint()
        self.self_adjoint = bool(self_adjoint)
        self._products.squared = not self.self_adjoint
        if self.self_adjoint and self.operator.shape[0] != self.operator.shape[1]:
            raise InputError(
                f"op is not square, so it cannot be self-adjoint; got shape {self.operator.shape}."
            )
        self.factor = self._known_factor()
        if positive_semidefinite is None:
            positive_semidefinite = getattr(self.operator, "positive_semidefinite", False)
        self.positive_semidefinite = self.factor is not None or bool(positive_semidefinite)

    @property
    def n_matvecs(self) -> int:
        """Products of single columns made so far."""
        return self._counter.columns

    @property
    def product_flops(self) -> float | None:
        """Flops of one product with the self-adjoint operator, where they are known."""
        cost = self._products.product_cost()
        if cost is None:
            return None
        return cost.flops if self.self_adjoint else 2.0 * cost.flops

    def whole_cost(self, own: Cost | None) -> Cost | None:
        """Return what a method takes together with the products made so far.

        Parameters
        ----------
        own : Cost or None
            What it takes beside the products, where that is known.

        Returns
        -------
        Cost or None
            Without the products where their cost is not known.
        """
        made = self._counter
        if not made.known or made.columns == 0:
            return own
        flops, memory = (0.0, 0.0) if own is None else (own.flops, own.memory_bytes)
        return Cost(flops + made.flops, memory + made.memory_bytes)

    @property
    def exponent(self) -> int:
        """Of the power of two that the eigenvalues are over: 0 for what the user gave."""
        if not isinstance(self.operator, RescaledOperator):
            return 0
        return self.operator.exponent * (1 if self.self_adjoint else 2)

    @property
    def name(self) -> str:
        """The operator's class, for messages."""
        return type(original(self.operator)).__name__

    @property
    def smaller_side(self) -> int:
        """The smallest size of a matrix with the same non-zero eigenvalues."""
        return self.n if self.factor is None else min(self.factor.shape)

    @property
    def operator_blocks(self) -> int:
        """Equal diagonal blocks of which the operator says that it consists."""
        blocks = int(getattr(self.operator, "n_blocks", 1))
        return blocks if self.n % blocks == 0 else 1

    @property
    def exact_sources(self) -> list[Any]:
        """Operators whose exact methods speak of this view: A, and its ``gram`` (A A*).

        Empty where the user overrides the operator's own ``self_adjoint``.
        """
        flag = getattr(self.operator, "self_adjoint", None)
        if flag is not None and bool(flag) != self.self_adjoint:
            return []
        gram = None if self.self_adjoint else getattr(self.operator, "gram", None)
        return [self.operator] if gram is None else [self.operator, gram]

    def ask_exact(
        self,
        quantity: str,
        *arguments: Any,
        max_memory: float,
        max_flops: float = EXACT_FLOPS,
        required: bool = False,
    ) -> tuple[Any, Cost | None] | None:
        """Ask the sources in turn; see :func:`ask_exact`."""
        for source in self.exact_sources:
            found = ask_exact(
                source, quantity, *arguments, max_memory=max_memory, max_flops=max_flops
            )
            if found is not None:
                return found
        if required:
            name = f"exact_{quantity}"
            source = next((each for each in self.exact_sources if hasattr(each, name)), None)
            return ask_exact(source, quantity, *arguments, max_memory=max_memory, required=True)
        return None

    def twin(self, maker: str, *arguments: Any) -> SpectralView | None:
        """Return a view of another operator that this one makes of itself.

        Parameters
        ----------
        maker : str
            A method of the operator: ``"coarse"`` or ``"astype"``.
        *arguments
            Of the method.

        Returns
        -------
        SpectralView or None
            Its products are counted together with these. None where the operator has no such
            method, or the method gives none.
        """
        make = getattr(self.operator, maker, None)
        if make is None:
            return None
        with np.errstate(over="ignore"):
            other = make(*arguments)
        if other is None:
            return None
        return SpectralView(other, self_adjoint=self.self_adjoint, counter=self._counter)

    def counted(self, operator: Any) -> CountedOperator:
        """Return another operator whose products are counted together with these."""
        squared = operator is not self.operator or not self.self_adjoint
        return CountedOperator(operator, self._counter, squared=squared)

    def apply(self, X: FloatArray) -> FloatArray:
        """Return the product of the self-adjoint operator with the columns of X."""
        Y = self._products.rmatmat(X) if not self.self_adjoint else X
        Y = self._products.matmat(Y)
        sizes = column_norms(X)
        ratios = column_norms(Y)[sizes > 0] / sizes[sizes > 0]
        self.norm_estimate = max(self.norm_estimate, float(np.max(ratios, initial=0.0)))
        return Y

    def random_block(self, columns: int, rng: np.random.Generator) -> FloatArray:
        """Return a block of independent standard normal columns."""
        return rng.standard_normal((self.n, columns)).astype(self.dtype, copy=False)

    def _known_factor(self) -> CountedOperator | None:
        if not self.self_adjoint:
            return self._products
        factor = getattr(self.operator, "factor", None)
        if factor is None:
            return None
        factor = aslinearoperator(factor)
        if factor.shape[0] != self.n:
            raise InputError(
                f"{self.name}.factor must have {self.n} rows, like the operator; got shape "
                f"{factor.shape}."
            )
        return self.counted(factor)

    def _seems_self_adjoint(self) -> bool:
        if self.operator.shape[0] != self.operator.shape[1]:
            return False
        X = self.random_block(4, np.random.default_rng(_PROBE_SEED))
        Y = np.asarray(self._products.matmat(X), np.float64)
        forms = np.asarray(X, np.float64).T @ Y
        scale = np.max(column_norms(X)) * np.max(column_norms(Y))
        difference = forms - forms.T
        if np.max(np.abs(difference)) <= default_tolerance(self.dtype) * scale:
            return True
        asymmetry = np.linalg.norm(difference) / np.linalg.norm(forms - np.diag(np.diag(forms)))
        if asymmetry < _NEARLY:
            raise InputError(
                f"op is self-adjoint up to {asymmetry:.1e} of its entries only, more than rounding "
                f"in {self.dtype} explains. If it was made in float32, give it in that, "
                "A.astype(numpy.float32); otherwise symmetrise it, (A + A.T) / 2, or pass "
                "self_adjoint=False for its singular values."
            )
        return False


def _largest(array: FloatArray) -> float:
    """Return the largest absolute entry, NaN where there is one, without a temporary array."""
    if not array.size:
        return 0.0
    return float(np.maximum(np.max(array), -np.min(array)))


def as_operator(operator: Any) -> LinearOperator:
    if isinstance(operator, (list, tuple, np.ma.MaskedArray)):
        operator = check_array(operator, "op", ("n", "p"))
    try:
        operator = aslinearoperator(operator)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"op must be a scipy.sparse.linalg.LinearOperator, a matrix or a sparse matrix; got "
            f"{type(operator).__name__}."
        ) from error
    if 0 in operator.shape:
        raise InputError(f"op must not be empty; got shape {operator.shape}.")
    return operator


def float_dtype(operator: LinearOperator) -> np.dtype[Any]:
    dtype = np.dtype(operator.dtype)
    if dtype.kind in "bui":
        return np.dtype(np.float64)
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InputTypeError(f"op must be of float32 or float64; got dtype {dtype}.")
    return dtype
