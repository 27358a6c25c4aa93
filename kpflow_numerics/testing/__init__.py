"""Public checks of operators, derivatives and eigenpairs, for these tests and for a user's own.

The functions named ``assert_*`` raise ``AssertionError`` with what failed; the others return a
result that says how far the error lies from its threshold.
"""

from .adjoints import DOT_TEST_FACTOR, DotTestResult, dot_test
from .derivatives import TaylorResult, taylor_test
from .matrices import assert_operator_matches_dense
from .spectra import assert_eigenpairs, assert_singular_triplets
from .tolerances import default_tolerance

__all__ = [
    "DOT_TEST_FACTOR",
    "DotTestResult",
    "TaylorResult",
    "assert_eigenpairs",
    "assert_operator_matches_dense",
    "assert_singular_triplets",
    "default_tolerance",
    "dot_test",
    "taylor_test",
]
