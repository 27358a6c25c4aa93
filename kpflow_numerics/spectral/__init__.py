"""Eigenpairs, invariants and effective ranks of any SciPy ``LinearOperator``.

Nothing here knows a cell or a network. An operator may offer more than its products, and is asked
by these names; all of them are optional.

``self_adjoint``, ``positive_semidefinite`` : bool
    Without the first, four random products decide; without the second, it is not assumed.
``product_cost(k)``
    A :class:`~kpflow_numerics.results.Cost` of a product, or an adjoint product, with k columns.
``dimsd`` : tuple of int
    The axes ``(B, T, N)`` of what the operator gives.
``factor`` : LinearOperator
    L with ``op = L L*``; its smaller side is used wherever that is cheaper.
``coarse()``, ``astype(dtype)`` : LinearOperator or None
    A cheaper operator near it in ``float32``, and the same operator rounded to a precision; with
    as many rows. Lanczos runs on the first and is refined, the second serves its certificate.
``embedding`` : LinearOperator or None
    Of a coarse operator's factor: orthonormal W from its domain into that of the operator's own
    factor S, which on the range of W is near it. Lanczos is then refined in the domain of S.
``n_blocks`` : int
    Equal diagonal blocks of which the operator consists, in the order of its rows (and those of
    its columns). Eigensolvers then work in all of them at once.
``gram`` : LinearOperator
    ``A A*`` of an operator A that is not self-adjoint, with exact methods of its own.
``inverse`` : LinearOperator
    For the smallest singular values.
``exact_trace()``, ``exact_eigenvalues()``, ``exact_eigenpairs(k)``, ``exact_partial_trace(over)``
    Of the operator, or of ``A A*`` where it is not self-adjoint. The eigenvalues are n, in any
    order; the eigenpairs are a tuple ``(values, vectors)``; the partial trace has the kept axes
    twice, or flat. None says that there is no closed form.
``exact_frobenius_norm()``
    Of the operator itself in either case.
``exact_inner_product(other)``, ``exact_inner_product_cost(other)``
    ``tr(A B)`` with another self-adjoint operator, and its cost; None where this pair has none.
``exact_cost(quantity, *arguments)``
    A :class:`~kpflow_numerics.results.Cost` of ``"trace"``, ``"frobenius_norm"``,
    ``"eigenvalues"``, ``"eigenpairs"`` or ``"partial_trace"``, for what its method takes; None
    where there is no closed form.

Convention: trace, spectrum, partial trace and effective rank of an operator that is not
self-adjoint mean those of ``A A*``: of its singular values squared.
"""

from ._budget import DEFAULT_MAX_MEMORY
from .alignment import ALIGNMENT_METHODS, INNER_PRODUCT_METHODS, alignment, inner_product
from .brackets import participation_ratio_bracket, rank_bracket
from .certificate import Certificate, completeness_certificate
from .effective_rank import RANK_METHODS, effective_rank
from .eigenvalues import SPECTRUM_METHODS, eigenvalues
from .frobenius_norm import frobenius_norm
from .partial_trace import AXES, partial_trace, uniform_projection
from .published_rank import PUBLISHED_RECIPES, published_rank
from .rank_recipes import RECIPES, WEIGHTINGS, rank_from_weights
from .singular_triplets import (
    SINGULAR_METHODS,
    smallest_singular_triplets,
    top_singular_triplets,
)
from .spectral_density import SpectralDensity, spectral_density
from .top_eigenpairs import EIGEN_METHODS, top_eigenpairs
from .trace import TRACE_METHODS, trace

__all__ = [
    "ALIGNMENT_METHODS",
    "AXES",
    "DEFAULT_MAX_MEMORY",
    "EIGEN_METHODS",
    "INNER_PRODUCT_METHODS",
    "PUBLISHED_RECIPES",
    "RANK_METHODS",
    "RECIPES",
    "SINGULAR_METHODS",
    "SPECTRUM_METHODS",
    "TRACE_METHODS",
    "WEIGHTINGS",
    "Certificate",
    "SpectralDensity",
    "alignment",
    "completeness_certificate",
    "effective_rank",
    "eigenvalues",
    "frobenius_norm",
    "inner_product",
    "partial_trace",
    "participation_ratio_bracket",
    "published_rank",
    "rank_bracket",
    "rank_from_weights",
    "smallest_singular_triplets",
    "spectral_density",
    "top_eigenpairs",
    "top_singular_triplets",
    "trace",
    "uniform_projection",
]
