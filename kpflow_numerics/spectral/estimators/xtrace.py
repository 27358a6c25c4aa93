"""The XTrace estimator of a trace."""

from __future__ import annotations

import numpy as np

from ..._typing import FloatArray, IntArray
from ..._validation import InputError
from .forms import BilinearForm, on_sphere
from .leave_one_out import GrowingQR, estimate_by_leaving_out, left_out_directions
from .sampled import LEAST_SAMPLES, SampledTrace

JACKKNIFE_SHARE = 0.25
"""See :func:`estimate_by_leaving_out`."""


class XTrace:
    """Exchangeable Hutch++: every test vector is in the sketch of all the others.

    Parameters
    ----------
    form : BilinearForm
        G.
    rng : Generator
        Source of the test vectors.
    """

    def __init__(self, form: BilinearForm, rng: np.random.Generator) -> None:
        self._form, self._rng = form, rng
        self._qr = GrowingQR(form.size, form.dtype)
        self._tests: FloatArray = np.empty((form.size, 0), form.dtype)
        self._images: FloatArray | None = None
        self._quadratic: FloatArray = np.empty(0)
        self.used = 0
        self.first_look = LEAST_SAMPLES * (form.product_cost + form.cost)
        self.complete = False

    def extend(self, n_matvecs: int) -> None:
        """Spend more products, all that are whole test vectors; at least two at first."""
        form = self._form
        each = form.product_cost + form.cost
        old = self._tests.shape[1]
        columns = min(n_matvecs // each, form.size - old)
        if old == 0 and columns < min(2, form.size):
            raise InputError(
                f"n_matvecs must be at least {2 * each} for XTrace (two test vectors of {each} "
                f"products); got {n_matvecs}."
            )
        if columns == 0:
            return
        tests = on_sphere(form.size, columns, form.dtype, self._rng)
        images = form.images(tests)
        quadratic = np.diagonal(form.gram(tests, images))
        added = self._qr.append(form.products(images))
        images = form.images(added)
        self._images = images if self._images is None else np.hstack([self._images, images])
        self._tests = np.hstack([self._tests, tests])
        self._quadratic = np.concatenate([self._quadratic, quadratic])
        self.used += columns * each
        self.complete = self._tests.shape[1] == form.size

    def result(self) -> SampledTrace:
        """Return the estimate so far."""
        form, Q, R = self._form, self._qr.Q, self._qr.R
        if self._images is None:
            raise InputError("extend must be called before result.")
        H = form.gram(Q, self._images)
        if self.complete:
            exact = float(np.trace(H))
            return SampledTrace(exact, exact, exact, 0.0)
        W = (Q.T @ self._tests).astype(np.float64)

        def values(places: IntArray) -> FloatArray:
            return self._estimates(H, R[:, places], W[:, places], self._quadratic[places])

        least = float(np.trace(H)) if form.positive else -np.inf
        return estimate_by_leaving_out(
            values,
            len(self._quadratic),
            size=form.size,
            dtype=form.dtype,
            jackknife_share=JACKKNIFE_SHARE,
            least=least,
        )

    def _estimates(
        self, H: FloatArray, R: FloatArray, W: FloatArray, quadratic: FloatArray
    ) -> FloatArray:
        """Return the leave-one-out estimates from the coefficients of test vectors in the basis."""
        form, count = self._form, len(quadratic)
        if count < len(H):
            basis, R = np.linalg.qr(R)
            H, W = basis.T @ H @ basis, basis.T @ W
        S, _ = left_out_directions(R, float(np.finfo(form.dtype).eps))
        # v_i are the coefficients of the projection of test vector i on the sketch of the others.
        V = W - S * np.sum(S * W, axis=0)
        rest = quadratic - 2.0 * np.sum(V * R, axis=0) + np.sum(V * (H @ V), axis=0)
        if form.positive:
            rest = np.maximum(rest, 0.0)
        lengths = np.maximum(form.size - np.sum(V**2, axis=0), np.finfo(np.float64).tiny)
        known = np.trace(H) - np.sum(S * (H @ S), axis=0)
        estimates: FloatArray = known + rest * (form.size - count + 1) / lengths
        return estimates

    @property
    def work(self) -> tuple[float, float]:
        """Flops beside the products, and bytes kept."""
        rows, columns = float(self._form.size), float(self._tests.shape[1])
        images = 0 if self._images is None else self._images.size
        bytes_kept = (3.0 * rows * columns + images) * self._form.dtype.itemsize
        return 8.0 * rows * columns**2 + 2.0 * images * columns + 500.0 * columns**3, bytes_kept


def xtrace(form: BilinearForm, n_matvecs: int, rng: np.random.Generator) -> SampledTrace:
    """Estimate ``tr G`` by XTrace: sketch and sample with the same vectors.

    With test vectors ``w_1 ... w_m`` and ``Q_i`` an orthonormal basis of ``G w_j``, ``j != i``, the
    estimate is the mean of ``tr(Q_i* G Q_i) + w* G w`` with ``w = (I - Q_i Q_i*) w_i`` brought to
    the length ``sqrt(size - m + 1)`` (Epperly, Tropp and Webber, SIAM J. Matrix Anal. Appl. 45,
    2024). Unbiased, exact where the sketch holds the range, also when it is smaller than m.

    Parameters
    ----------
    form : BilinearForm
        G. A test vector takes two products with a self-adjoint operator, three with a factor.
    n_matvecs : int
        Budget of products, never exceeded; what is no whole test vector is not used.
    rng : Generator
        Source of the test vectors, uniform on a sphere.

    Returns
    -------
    SampledTrace
        Standard error and interval are those of :func:`estimate_by_leaving_out`.

    Raises
    ------
    InputError
        If the budget does not suffice for two test vectors.

    Notes
    -----
    ``O(size m^2 + min(m, 32) m^3)`` flops beside the products; the m
    bases come from one QR decomposition.
    """
    estimator = XTrace(form, rng)
    estimator.extend(n_matvecs)
    return estimator.result()
