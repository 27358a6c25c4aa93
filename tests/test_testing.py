import dataclasses

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from kpflow_numerics._validation import InputError
from kpflow_numerics.results import EigenResult, SingularResult
from kpflow_numerics.testing import (
    assert_eigenpairs,
    assert_operator_matches_dense,
    assert_singular_triplets,
    default_tolerance,
    dot_test,
    taylor_test,
)

DTYPES = [np.float32, np.float64]


class MatrixOperator(LinearOperator):
    """A matrix whose products a test can spoil, each on its own."""

    def __init__(self, matrix, adjoint=None, spoil=None):
        super().__init__(matrix.dtype, matrix.shape)
        self.matrix = matrix
        self.adjoint_matrix = matrix.T if adjoint is None else adjoint
        self.spoil = spoil or {}

    def _product(self, name, matrix, x):
        return self.spoil.get(name, lambda result, x: result)(matrix @ x, x)

    def _matvec(self, x):
        return self._product("matvec", self.matrix, x)

    def _matmat(self, x):
        return self._product("matmat", self.matrix, x)

    def _rmatvec(self, x):
        return self._product("rmatvec", self.adjoint_matrix, x)

    def _rmatmat(self, x):
        return self._product("rmatmat", self.adjoint_matrix, x)


def random_matrix(shape, dtype, seed=11):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_default_tolerance_follows_dtype_and_size():
    assert default_tolerance(np.float32) == 50 * np.finfo(np.float32).eps
    assert default_tolerance(np.int64) == default_tolerance(np.float64)
    assert default_tolerance(np.float64, 100) == pytest.approx(10 * default_tolerance("float64"))
    assert default_tolerance(np.float64, 0, factor=2) == 2 * np.finfo(np.float64).eps


class TestDotTest:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(7, 5), (1, 1), (300, 41)])
    @pytest.mark.parametrize("seed", range(5, 15))
    def test_a_right_adjoint_passes(self, dtype, shape, seed):
        result = dot_test(MatrixOperator(random_matrix(shape, dtype)), rng=seed)
        assert result.passed
        assert result.threshold == pytest.approx(50 * np.finfo(dtype).eps)
        assert result.error == result.errors.max()
        assert repr(result).startswith("DotTestResult(passed")

    def test_zero_passes(self):
        assert dot_test(np.zeros((4, 3))).error == 0

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize(
        "fault",
        [
            lambda A: A,
            lambda A: -A.T,
            lambda A: 0 * A.T,
            lambda A: np.roll(A, 1, axis=0).T,
            lambda A: np.where(np.arange(6)[:, None] == 3, 0, A).T,
            lambda A: A.T * (1 + 200 * np.finfo(A.dtype).eps),
            lambda A: A.T * np.nan,
        ],
        ids=["no transpose", "sign", "zero", "off by one", "dropped row", "scale", "nan"],
    )
    def test_a_wrong_adjoint_is_caught(self, dtype, fault):
        A = random_matrix((6, 6), dtype)
        result = dot_test(MatrixOperator(A, fault(A).astype(dtype)), rng=7)
        assert not result.passed
        assert repr(result).startswith("DotTestResult(FAILED")

    @pytest.mark.parametrize("product", ["matvec", "matmat", "rmatvec", "rmatmat"])
    def test_vector_and_block_products_are_both_tested(self, product):
        spoil = {product: lambda result, x: result + 1}
        operator = MatrixOperator(random_matrix((6, 4), np.float64), spoil=spoil)
        assert not dot_test(operator, rng=7).passed

    def test_arguments_are_checked(self):
        with pytest.raises(InputError, match="n_pairs must be at least 1"):
            dot_test(np.eye(2), n_pairs=0)


def curved(x):
    return np.concatenate([np.tanh(3 * x), [np.sum(x**3)]])


def curved_jacobian(x):
    return np.vstack([np.diag(3 / np.cosh(3 * x) ** 2), 3 * x**2])


class TestTaylorTest:
    x = np.random.default_rng(5).standard_normal(6)
    directions = np.random.default_rng(6).standard_normal((4, 6))

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_a_right_derivative_has_slope_two(self, dtype):
        x = self.x.astype(dtype)
        jacobian = curved_jacobian(x).astype(dtype)
        result = taylor_test(curved, lambda d: jacobian @ d, x, self.directions)
        assert result.passed
        assert not result.exact.any()
        np.testing.assert_allclose(result.slopes, 2, atol=0.1)
        assert result.remainders.shape == (4, len(result.steps))

    @pytest.mark.parametrize("scale", [1e-9, 1.0, 1e12])
    @pytest.mark.parametrize("largest_step", [1.0, 0.01])
    def test_the_scale_of_the_function_does_not_matter(self, scale, largest_step):
        jacobian = scale * curved_jacobian(self.x)
        result = taylor_test(
            lambda x: scale * curved(x),
            lambda d: jacobian @ d,
            self.x,
            self.directions[0],
            largest_step=largest_step,
        )
        assert result.passed

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_a_linear_function_is_exact(self, dtype):
        A = random_matrix((9, 6), dtype)
        result = taylor_test(
            lambda x: A @ x, lambda d: A @ d, self.x.astype(dtype), self.directions
        )
        assert result.exact.all()
        assert result.passed
        assert np.isnan(result.slope)
        assert repr(result) == "TaylorResult(passed: exact)"

    @pytest.mark.parametrize(
        "fault",
        [
            lambda J: J * (1 + 1e-5),
            lambda J: np.roll(J, 1, axis=0),
            lambda J: 0 * J,
            lambda J: J * np.nan,
        ],
        ids=["scale", "off by one", "zero", "nan"],
    )
    def test_a_wrong_derivative_is_caught(self, fault):
        jacobian = fault(curved_jacobian(self.x))
        result = taylor_test(curved, lambda d: jacobian @ d, self.x, self.directions)
        assert not result.passed
        assert repr(result).startswith("TaylorResult(FAILED")
        linear = fault(random_matrix((7, 6), np.float64))
        truth = random_matrix((7, 6), np.float64)
        assert not taylor_test(
            lambda x: truth @ x, lambda d: linear @ d, self.x, self.directions
        ).passed

    def test_one_wrong_direction_of_many_is_caught(self):
        jacobian = curved_jacobian(self.x)
        jacobian[:, 2] *= 1.1
        directions = np.eye(6)
        result = taylor_test(curved, lambda d: jacobian @ d, self.x, directions)
        assert not result.passed
        assert int(np.argmin(result.slopes)) == 2
        assert result.slope == pytest.approx(1, abs=0.05)

    def test_a_remainder_too_close_to_the_noise_is_not_passed(self):
        result = taylor_test(lambda x: 1e6 + x**2, lambda d: 0 * d, [1e-4], [1.0])
        assert not result.exact.any()
        assert not result.passed

    def test_at_zero_the_steps_are_absolute(self):
        assert taylor_test(np.exp, lambda d: d, np.zeros((2, 3)), np.ones((2, 3))).passed

    def test_arguments_are_checked(self):
        with pytest.raises(InputError, match=r"directions must have the shape of x, \(6,\)"):
            taylor_test(curved, lambda d: d, self.x, np.ones(5))
        with pytest.raises(InputError, match=r"directions\[1\] must not be zero"):
            taylor_test(
                curved, lambda d: curved_jacobian(self.x) @ d, self.x, np.eye(2, 6) * [[1], [0]]
            )
        with pytest.raises(InputError, match="largest_step must be finite and greater than 0"):
            taylor_test(curved, lambda d: d, self.x, self.x, largest_step=0)


class TestMatrices:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(7, 5), (1, 4), (1, 1)])
    def test_the_same_matrix_passes(self, dtype, shape):
        A = random_matrix(shape, dtype)
        assert_operator_matches_dense(MatrixOperator(A), A, rng=7)
        assert_operator_matches_dense(aslinearoperator(A), A.astype(np.float64), rng=7)

    @pytest.mark.parametrize("product", ["matvec", "matmat", "rmatvec", "rmatmat"])
    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda result, x: result * (1 + 1e-9), "error .* is above"),
            (lambda result, x: result * np.nan, "error nan is above"),
            (lambda result, x: result.astype(np.float32), "dtype float32, expected float64"),
        ],
        ids=["value", "nan", "dtype"],
    )
    def test_each_product_is_compared(self, product, spoil, message):
        A = random_matrix((7, 5), np.float64)
        with pytest.raises(AssertionError, match=message):
            assert_operator_matches_dense(MatrixOperator(A, spoil={product: spoil}), A)

    def test_a_changed_argument_is_caught(self):
        def scribble(result, x):
            x[0] = 3
            return result

        A = random_matrix((7, 5), np.float64)
        with pytest.raises(AssertionError, match="changed its argument"):
            assert_operator_matches_dense(MatrixOperator(A, spoil={"matmat": scribble}), A)

    def test_a_block_read_in_memory_order_is_caught(self):
        A = random_matrix((4, 4), np.float64)

        class InMemoryOrder(MatrixOperator):
            def _matmat(self, x):
                return self.matrix @ x.ravel(order="K").reshape(x.shape)

        with pytest.raises(AssertionError, match="Fortran block"):
            assert_operator_matches_dense(InMemoryOrder(A), A)

    def test_shape_is_compared(self):
        with pytest.raises(AssertionError, match=r"shape \(2, 3\), expected \(3, 2\)"):
            assert_operator_matches_dense(MatrixOperator(np.ones((2, 3))), np.ones((3, 2)))

    def test_float32_matrix_must_agree_to_float32_only(self):
        A = random_matrix((30, 20), np.float64)
        assert_operator_matches_dense(MatrixOperator(A.astype(np.float32)), A)
        with pytest.raises(AssertionError, match="is above"):
            assert_operator_matches_dense(MatrixOperator(A.astype(np.float32)), A * (1 + 1e-4))


def eigen_result(matrix, k, **changes):
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
    residuals = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    result = EigenResult(values, vectors, residuals, True, True, 0, "dense")
    return dataclasses.replace(result, **changes)


class TestEigenpairs:
    rng = np.random.default_rng(21)
    Q = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    spectrum = np.array([5.0, 3.0, 3.0, 3.0, 1.0, 0.5, 0.0, -4.0])
    matrix = (Q * spectrum) @ Q.T
    matrix = (matrix + matrix.T) / 2

    def test_right_pairs_pass(self):
        for k in (1, 3, 8):
            assert_eigenpairs(self.matrix, eigen_result(self.matrix, k), k=k)
            assert_eigenpairs(aslinearoperator(self.matrix), eigen_result(self.matrix, k))

    def test_pairs_of_the_gram_matrix_where_not_self_adjoint(self):
        A = random_matrix((6, 9), np.float64)
        assert_eigenpairs(A, eigen_result(A @ A.T, 3))
        result = eigen_result(self.matrix @ self.matrix, 3)
        assert_eigenpairs(self.matrix, result, self_adjoint=False)
        with pytest.raises(AssertionError, match="residuals"):
            assert_eigenpairs(self.matrix, result)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"complete": False}, "not complete"),
            ({"converged": False}, "not converged"),
            ({"values": np.array([5.0, 3.0, 3.0 + 1e-9, 3.0])}, "not descending"),
            ({"values": np.array([5.0, 3.0, 3.0, 3.0 - 1e-9])}, "residuals"),
            ({"values": np.array([5.0, 3.0, 3.0, np.nan])}, "not descending"),
            ({"vectors": Q[:, [0, 1, 2, 2]]}, "not orthonormal"),
            ({"vectors": Q[:, [0, 1, 2, 3]] * 1.001}, "not orthonormal"),
            ({"vectors": Q[:, [0, 1, 2, 5]]}, "residuals"),
            ({"vectors": Q[:, :3]}, "vectors have shape"),
            ({"residual_norms": np.full(4, 1e-3)}, "reported residual_norms are wrong"),
        ],
    )
    def test_faults_are_caught(self, change, message):
        with pytest.raises(AssertionError, match=message):
            assert_eigenpairs(self.matrix, eigen_result(self.matrix, 4, **change))

    def test_a_missing_copy_of_a_repeated_eigenvalue_is_caught(self):
        chosen = [0, 1, 2, 4]
        result = eigen_result(
            self.matrix,
            4,
            values=self.spectrum[chosen],
            vectors=self.Q[:, chosen],
            residual_norms=np.zeros(4),
        )
        with pytest.raises(AssertionError, match="first at 3: 1, expected 3"):
            assert_eigenpairs(self.matrix, result)

    def test_too_few_pairs_are_caught(self):
        with pytest.raises(AssertionError, match="4 values, expected 5"):
            assert_eigenpairs(self.matrix, eigen_result(self.matrix, 4), k=5)


def singular_result(matrix, k, smallest=False, **changes):
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    chosen = np.argsort(values if smallest else -values)[:k]
    result = SingularResult(
        left[:, chosen], values[chosen], right[chosen].T, np.zeros(k), True, True, 0, "dense"
    )
    return dataclasses.replace(result, **changes)


class TestSingularTriplets:
    matrix = random_matrix((9, 5), np.float64)

    @pytest.mark.parametrize("smallest", [False, True])
    def test_right_triplets_pass(self, smallest):
        for matrix in (self.matrix, self.matrix.T):
            result = singular_result(matrix, 3, smallest)
            assert_singular_triplets(matrix, result, k=3, smallest=smallest)
            with pytest.raises(AssertionError, match=r"out of order|dense spectrum"):
                assert_singular_triplets(matrix, result, smallest=not smallest)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"complete": False}, "not complete"),
            ({"left": np.ones((9, 3))}, "left are not orthonormal"),
            ({"right": np.ones((5, 3))}, "right are not orthonormal"),
            ({"right": np.eye(5)[:, :3]}, "residuals"),
            ({"residual_norms": np.ones(3)}, "reported residual_norms"),
        ],
    )
    def test_faults_are_caught(self, change, message):
        with pytest.raises(AssertionError, match=message):
            assert_singular_triplets(self.matrix, singular_result(self.matrix, 3, **change))
