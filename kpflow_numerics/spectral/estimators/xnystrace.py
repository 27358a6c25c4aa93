"""The XNysTrace estimator of the trace of a positive semi-definite operator."""

from __future__ import annotations

import numpy as np

from ..._typing import FloatArray, IntArray
from ..._validation import InputError
from .forms import BilinearForm, FactorForm, on_sphere
from .leave_one_out import GrowingQR, estimate_by_leaving_out, left_out_directions
from .sampled import LEAST_SAMPLES, SampledTrace

JACKKNIFE_SHARE = 0.5
"""See :func:`estimate_by_leaving_out`."""


class XNysTrace:
    """Exchangeable Nyström estimator, which more products continue.

    Parameters
    ----------
    form : FactorForm
        ``G = L* L``.
    rng : Generator
        Source of the test vectors.
    """

    def __init__(self, form: BilinearForm, rng: np.random.Generator) -> None:
        if not isinstance(form, FactorForm):
            raise InputError(
                "XNysTrace needs a factor L with op = L L*, which op does not have: give it a "
                '`factor`, pass self_adjoint=False, or use method="xtrace".'
            )
        self._form, self._rng = form, rng
        self._tests = GrowingQR(form.size, form.dtype)
        self._qr = GrowingQR(form.image_size, form.dtype)
        self._images: FloatArray = np.empty((form.size, 0), form.dtype)
        self.used = 0
        self.first_look = LEAST_SAMPLES * form.product_cost
        self.complete = False

    def extend(self, n_matvecs: int) -> None:
        """Spend more products, all that are whole test vectors; at least two at first."""
        form = self._form
        old, each = self._images.shape[1], form.product_cost
        smaller = min(form.size, form.image_size)
        columns = min(n_matvecs // each, smaller - old)
        if old == 0 and columns < min(2, smaller):
            raise InputError(
                f"n_matvecs must be at least {2 * each} for XNysTrace (two test vectors of {each} "
                f"products); got {n_matvecs}."
            )
        if columns == 0:
            return
        tests = on_sphere(form.size, columns, form.dtype, self._rng)
        self._tests.append(tests)
        images = form.adjoint_images(self._qr.append(form.images(tests)))
        self._images = np.hstack([self._images, images])
        self.used += columns * each
        self.complete = self._images.shape[1] == smaller

    def result(self) -> SampledTrace:
        """Return the estimate so far."""
        form, R, tests = self._form, self._qr.R, self._tests.R
        gram = (self._images.T @ self._images).astype(np.float64)
        total = float(np.trace(gram))
        if self.complete:
            return SampledTrace(total, total, total, 0.0)

        def values(places: IntArray) -> FloatArray:
            return self._estimates(gram, R[:, places], tests[:, places])

        return estimate_by_leaving_out(
            values,
            len(gram),
            size=form.size,
            dtype=form.dtype,
            jackknife_share=JACKKNIFE_SHARE,
            least=total,
        )

    def _estimates(self, gram: FloatArray, R: FloatArray, tests: FloatArray) -> FloatArray:
        """Return the leave-one-out estimates from the coefficients of test vectors in the bases."""
        count, precision = R.shape[1], float(np.finfo(self._form.dtype).eps)
        if count < len(gram):
            basis, R = np.linalg.qr(R)
            gram = basis.T @ gram @ basis
            tests = np.linalg.qr(tests)[1]
        S, distances = left_out_directions(R, precision)
        _, lengths = left_out_directions(tests, precision)
        # What Nyström leaves is zero on the other test vectors: of each only the part that is
        # orthogonal to them counts, brought to its expected length.
        rest = distances**2 * (self._form.size - count + 1) / lengths**2
        estimates: FloatArray = np.trace(gram) - np.sum(S * (gram @ S), axis=0) + rest
        return estimates

    @property
    def work(self) -> tuple[float, float]:
        """Flops beside the products, and bytes kept."""
        return xnystrace_work(self._form, self._images.shape[1])


def xnystrace_work(form: FactorForm, n_tests: int) -> tuple[float, float]:
    """Return the flops that so many test vectors take beside the products, and the bytes kept."""
    rows, columns = float(2 * form.size + form.image_size), float(n_tests)
    flops = 4.0 * rows * columns**2 + 500.0 * columns**3
    return flops, rows * columns * form.dtype.itemsize


def xnystrace(form: BilinearForm, n_matvecs: int, rng: np.random.Generator) -> SampledTrace:
    """Estimate ``tr L* L`` by XNysTrace: the best where the spectrum decays.

    With test vectors ``w_1 ... w_m`` and ``G_i`` the Nyström approximation of ``G = L* L`` from
    all of them but ``w_i``, the estimate is the mean of ``tr G_i + w* (G - G_i) w``, w being the
    part of ``w_i`` orthogonal to the others, brought to the length ``sqrt(size - m + 1)`` (Epperly,
    Tropp and Webber, SIAM J. Matrix Anal. Appl. 45, 2024). Unbiased, exact where the rank of G is
    below m. Here the Nyström approximation is ``L* Q Q* L`` for an orthonormal basis Q of
    ``L w_1 ... L w_m``: ``L* Q`` is computed as it stands, so that no matrix is inverted and
    nothing shifted, and ``tr G_i = |L* Q|_F^2 - |L* Q s_i|^2``, with ``s_i`` as in
    :func:`left_out_directions`.

    Parameters
    ----------
    form : FactorForm
        G. A test vector takes two products with the factor.
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
        If the budget does not suffice for two test vectors, or there is no factor.

    Notes
    -----
    ``O((n + p) m^2 + min(m, 32) m^3)`` flops beside the products.
    """
    estimator = XNysTrace(form, rng)
    estimator.extend(n_matvecs)
    return estimator.result()
