"""Checks of the operators against each other: adjoints, inverses and products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..operators import (
    InversePropagator,
    ParameterJacobian,
    ParameterOperator,
    Propagator,
    PropagatorGram,
    Sensitivity,
    TangentKernel,
)
from ..results import Check
from ..testing import DOT_TEST_FACTOR, dot_test
from ._subject import Subject, judge, relative_error

_COLUMNS = 3


def adjoint_checks(subject: Subject, rng: np.random.Generator) -> Iterator[Check]:
    """Yield the dot test of every operator."""
    for symbol, operator in (
        ("J", ParameterJacobian),
        ("K", ParameterOperator),
        ("P", Propagator),
        ("P^-1", InversePropagator),
        ("S", Sensitivity),
        ("NTK", TangentKernel),
    ):
        result = dot_test(operator(subject.linearization), rng=rng)
        yield judge(
            f"adjoint of {symbol}",
            f"<{symbol} v, q> = <v, {symbol}* q>",
            result.error,
            result.threshold,
            f"Largest error over random pairs, as vectors and in blocks, relative to the norms; "
            f"the threshold is {DOT_TEST_FACTOR} eps.",
        )


def identity_checks(subject: Subject, rng: np.random.Generator) -> Iterator[Check]:
    """Yield the identities that join the operators, on random blocks."""
    linearization, tolerance = subject.linearization, subject.tolerance
    J, K = ParameterJacobian(linearization), ParameterOperator(linearization)
    P, S = Propagator(linearization), Sensitivity(linearization)
    NTK = TangentKernel(linearization)
    q = subject.random_block(rng, _COLUMNS)
    v = rng.standard_normal((subject.cell.n_parameters, _COLUMNS)).astype(q.dtype, copy=False)
    explanation = f"Relative error on a random block of {_COLUMNS} columns."
    yield judge(
        "inverse of P",
        "P P^-1 = I = P^-1 P",
        max(_inverse_errors(subject, rng)),
        tolerance,
        f"On a random block of {_COLUMNS} columns, both ways round; relative to the rounding of "
        "the first product as the second amplifies it.",
    )
    gram_q = K.apply(q)
    yield judge(
        "K", "K = J J*", relative_error(gram_q, J.apply(J.apply_adjoint(q))), tolerance, explanation
    )
    yield judge(
        "S", "S = P J", relative_error(S.apply(v), P.apply(J.apply(v))), tolerance, explanation
    )
    back = P.apply_adjoint(q)
    yield judge(
        "P P*",
        "P P* = P (P*)",
        relative_error(PropagatorGram(linearization).apply(q), P.apply(back)),
        tolerance,
        explanation,
    )
    kernel_q = NTK.apply(q)
    yield judge(
        "NTK in three factors",
        "NTK = P K P*",
        relative_error(kernel_q, P.apply(K.apply(back))),
        tolerance,
        f"{explanation[:-1]}: three operators one after another against the kernel itself.",
    )
    yield judge(
        "NTK in two factors",
        "NTK = S S*",
        relative_error(kernel_q, S.apply(S.apply_adjoint(q))),
        tolerance,
        f"{explanation[:-1]}: through the parameters against the kernel, which never meets them.",
    )


def _inverse_errors(subject: Subject, rng: np.random.Generator) -> Iterator[float]:
    P = Propagator(subject.linearization)
    q, probe = (subject.random_block(rng, _COLUMNS) for _ in range(2))
    for first, second in ((P.inverse, P), (P, P.inverse)):
        middle = first.apply(q)
        gain = max(1.0, _norm(second.apply(probe)) / _norm(probe))
        yield _norm(second.apply(middle) - q) / (gain * _norm(middle))


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.astype(np.float64, copy=False)))
