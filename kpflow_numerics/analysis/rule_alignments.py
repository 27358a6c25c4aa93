"""Learning rules beside each other: as operators, by the moves they make, over training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .._typing import ArrayLike, FloatArray, Params, ParamsLike, RNGLike
from .._validation import (
    InputError,
    InputTypeError,
    check_array,
    check_choice,
    check_integer,
    check_real,
    check_rng,
)
from ..linearization import Linearization
from ..operators import (
    FeedbackAlignment,
    GaussNewton,
    LearningRule,
    PreconditionedKernel,
    PropagatorGram,
    StructuredOperator,
    TangentKernel,
    TruncatedBPTT,
    random_feedback,
)
from ..operators.base import check_linearization
from ..readout import check_readout
from ..results import Estimate
from ..spectral import DEFAULT_MAX_MEMORY, top_eigenpairs
from ..training import Adam
from ..training.optimizers import OptimizerState
from ._operator_cosines import dense_inner_products, sampled_inner_products

METHODS = ("auto", "dense", "sampled")
"""What :func:`learning_rule_alignments` accepts as ``method``."""

DENSE_SIZE = 2000
"""Up to this number ``n = B T N`` the alignments are made from all unit vectors by default."""


@dataclass(frozen=True, repr=False, eq=False)
class LearningRuleAlignments:
    """Cosines between learning rules.

    Attributes
    ----------
    names : tuple of str
        The rules; the axes of all matrices.
    reference : str
        The rule that others are compared with where no other is named.
    operators : ndarray, shape (R, R)
        ``tr(A* B) / (|A|_F |B|_F)``, the cosine of the operators themselves.
    standard_errors, lower, upper : ndarray, shape (R, R)
        Standard error and 95 % interval of each; zero, and the value, where it is exact.
    states : ndarray, shape (R, R), or None
        Cosine of the moves of the hidden states that the given error causes, exact to rounding.
    updates : ndarray, shape (R, R), or None
        Cosine of the updates of the parameters that the given error causes, exact to rounding; NaN
        for a rule that moves no parameters. That with backpropagation is positive exactly where a
        small step decreases the loss.
    method : {"dense", "sampled"}
        How the operators were compared.
    n_matvecs : int
        Products of single columns, with all rules together.
    """

    names: tuple[str, ...]
    reference: str
    operators: FloatArray
    standard_errors: FloatArray
    lower: FloatArray
    upper: FloatArray
    states: FloatArray | None
    updates: FloatArray | None
    method: str
    n_matvecs: int

    def alignment(self, name: str, other: str | None = None) -> Estimate:
        """Return the alignment of two operators, by default with the reference.

        Raises
        ------
        InputError
            If there is no such rule.
        """
        i, j = self._place(name), self._place(self.reference if other is None else other)
        exact = self.standard_errors[i, j] == 0
        return Estimate(
            float(self.operators[i, j]),
            float(self.lower[i, j]),
            float(self.upper[i, j]),
            float(self.standard_errors[i, j]),
            self.method,
            self.n_matvecs,
            "alignment",
            confidence=1.0 if exact else 0.95,
        )

    def state_cosine(self, name: str, other: str | None = None) -> float:
        """Return the cosine of two moves of the states; NaN where no error was given."""
        return self._cosine(self.states, name, other)

    def update_cosine(self, name: str, other: str | None = None) -> float:
        """Return the cosine of two updates; NaN where there is none."""
        return self._cosine(self.updates, name, other)

    def _cosine(self, cosines: FloatArray | None, name: str, other: str | None) -> float:
        i, j = self._place(name), self._place(self.reference if other is None else other)
        return math.nan if cosines is None else float(cosines[i, j])

    def _place(self, name: str) -> int:
        return self.names.index(check_choice(name, "the name of a rule", self.names))

    def __repr__(self) -> str:
        return (
            f"LearningRuleAlignments({len(self.names)} rules with {self.reference}, {self.method}, "
            f"{self.n_matvecs} products)"
        )

    def __str__(self) -> str:
        rows = [f"{'with ' + self.reference:<24}{'operators':>18}{'states':>9}{'updates':>9}"]
        for name in self.names:
            estimate = self.alignment(name)
            error = "" if estimate.is_exact else f" +- {estimate.standard_error:.3f}"
            rows.append(
                f"{name:<24}{f'{estimate.value:.3f}{error}':>18}{self.state_cosine(name):>9.3f}"
                f"{self.update_cosine(name):>9.3f}"
            )
        return "\n".join(rows)


@dataclass(frozen=True, repr=False, eq=False)
class LearningRuleDynamics:
    """Cosines between learning rules over training.

    Attributes
    ----------
    iterations : tuple of int
        Iterations of the checkpoints.
    evaluation_losses : tuple of float
        The loss at each.
    alignments : tuple of LearningRuleAlignments
        One for each checkpoint. A rule that does not exist yet, such as Adam's before the first
        step, is missing from its names.
    dampings : tuple of dict of str to float
        The absolute damping of each Gauss-Newton rule at each checkpoint.
    """

    iterations: tuple[int, ...]
    evaluation_losses: tuple[float, ...]
    alignments: tuple[LearningRuleAlignments, ...]
    dampings: tuple[dict[str, float], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every rule that any checkpoint has, in the order of their first appearance."""
        return tuple(dict.fromkeys(name for each in self.alignments for name in each.names))

    def course(self, name: str, quantity: str = "operators") -> list[tuple[int, Estimate]]:
        """Return iteration and cosine with the reference, at each checkpoint that has the rule.

        Parameters
        ----------
        name : str
            The rule.
        quantity : {"operators", "states", "updates"}
            Which cosine.

        Raises
        ------
        InputError
            If there is no such rule or quantity.
        """
        check_choice(name, "the name of a rule", self.names)
        check_choice(quantity, "quantity", ("operators", "states", "updates"))
        points = []
        for iteration, found in zip(self.iterations, self.alignments, strict=True):
            if name not in found.names:
                continue
            if quantity == "operators":
                points.append((iteration, found.alignment(name)))
                continue
            cosine = found.state_cosine if quantity == "states" else found.update_cosine
            value = cosine(name)
            if math.isfinite(value):
                exact = Estimate(value, value, value, 0.0, "exact", 0, f"cosine of {quantity}")
                points.append((iteration, exact))
        return points

    def __repr__(self) -> str:
        return (
            f"LearningRuleDynamics({len(self.names)} rules at iterations "
            f"{', '.join(map(str, self.iterations))})"
        )


def learning_rules(
    linearization: Linearization,
    *,
    windows: Sequence[int] = (0, 10),
    chunks: Sequence[int] = (),
    feedback: ArrayLike | None = None,
    damping: float = 0.01,
    readout: ParamsLike | None = None,
    preconditioners: Mapping[str, ParamsLike | LinearOperator] | None = None,
    max_memory: float = DEFAULT_MAX_MEMORY,
    rng: RNGLike = 0,
) -> dict[str, StructuredOperator]:
    """Return learning rules as operators from errors to ``-dh/dtau``, by name.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    windows, chunks : sequence of int
        Windows w of truncated backpropagation, sliding and in chunks of ``w + 1`` steps.
    feedback : array_like, optional
        Recurrent feedback weights; drawn by :func:`random_feedback` from `rng` by default. Without
        weight sites the cell has no feedback alignment, and the rule is left out.
    damping : float
        Of Gauss-Newton, as a share of the largest eigenvalue of its metric.
    readout : mapping of str to array_like, optional
        ``weight (O, H)`` and ``bias (O,)``, for Gauss-Newton in the metric of the outputs.
    preconditioners : mapping of str to preconditioner, optional
        Further rules by name, each a preconditioner as :class:`PreconditionedKernel` takes it.
    max_memory : float
        Bytes that any one computation may take.
    rng : int, SeedSequence or Generator
        Source of the feedback weights and of the eigensolver's columns.

    Returns
    -------
    dict of str to StructuredOperator
        ``"bptt"``: ``P K P*``, the tangent kernel itself. ``"truncated-<w>"``: ``P K P_w*``.
        ``"chunks-<w>"``. ``"feedback-alignment"``: ``P K P_B*``. ``"functional"``: ``P P*``,
        which is ``P K P*`` with 1 in the place of K: gradient descent not on parameters but on a
        term ``u_t`` added to each state of each trial, ``h_t = f(x_t, h_{t-1}) + u_t``.
        ``"gauss-newton"``: ``S (S* S + damping)^-1 S*``; ``"gauss-newton-outputs"`` with a readout.
        Then the given preconditioners.

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used.
    MemoryLimitError
        If a computation would take more than `max_memory`.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> list(kpf.learning_rules(lin, windows=(0, 2)))
    ['bptt', 'truncated-0', 'truncated-2', 'feedback-alignment', 'functional', 'gauss-newton']
    """
    check_linearization(linearization)
    damping = check_real(damping, "damping", minimum=0.0, open_minimum=True)
    generator = check_rng(rng)
    rules: dict[str, StructuredOperator] = {"bptt": TangentKernel(linearization)}
    for window in windows:
        rules[f"truncated-{window}"] = TruncatedBPTT(linearization, window)
    for window in chunks:
        rules[f"chunks-{window}"] = TruncatedBPTT(linearization, window, truncation="chunks")
    if linearization.weight_sites is not None:
        weights = random_feedback(linearization, rng=generator) if feedback is None else feedback
        rules["feedback-alignment"] = FeedbackAlignment(linearization, weights)
    elif feedback is not None:
        FeedbackAlignment(linearization, feedback)
    rules["functional"] = PropagatorGram(linearization)
    metrics: dict[str, FloatArray | None] = {"gauss-newton": None}
    if readout is not None:
        metrics["gauss-newton-outputs"] = check_readout(readout, linearization.cell.n_units)[
            "weight"
        ]
    for name, weight in metrics.items():
        metric = GaussNewton(
            linearization, 1.0, readout_weight=weight, max_memory=max_memory
        ).metric
        largest = top_eigenpairs(metric, 1, tolerance=1e-3, max_memory=max_memory, rng=generator)
        rules[name] = GaussNewton(
            linearization,
            damping * float(largest.values[0]),
            readout_weight=weight,
            max_memory=max_memory,
        )
    for name, preconditioner in ({} if preconditioners is None else preconditioners).items():
        if name in rules:
            raise InputError(
                f"preconditioners has an entry {name!r}, which is a rule already; take another "
                "name."
            )
        rules[name] = PreconditionedKernel(linearization, preconditioner)
    return rules


def adam_preconditioner(
    optimizer: Adam, optimizer_state: OptimizerState, *, readout: bool = False
) -> Params:
    """Return Adam's diagonal preconditioner ``1 / (sqrt(v) / sqrt(1 - beta2^s) + epsilon)``.

    Parameters
    ----------
    optimizer : Adam
        Its settings.
    optimizer_state : dict of str to ndarray
        What :meth:`Adam.update` returned, such as a checkpoint's ``optimizer_state``.
    readout : bool
        Whether to include those of a readout, ``"readout/weight"`` and ``"readout/bias"``.

    Returns
    -------
    dict of str to ndarray
        For each parameter of the cell; those of the readout if asked for.

    Raises
    ------
    InputError, InputTypeError
        If no step was made yet, or the state is not Adam's.

    Notes
    -----
    The first step of Adam divides each gradient by its own size: it moves by signs, which no linear
    operator does. Later ones are nearly linear where the denominators, means over about
    ``1 / (1 - beta2)`` steps, hardly depend on the last gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> rule, params = kpf.Adam(0.01, epsilon=1e-8), {"weight_hh": np.zeros((1, 1))}
    >>> _, state = rule.update(params, {"weight_hh": np.full((1, 1), 0.5)}, rule.init_state(params))
    >>> kpf.adam_preconditioner(rule, state)["weight_hh"].round(4)
    array([[2.]])
    """
    if not isinstance(optimizer, Adam):
        raise InputTypeError(f"optimizer must be an Adam; got {optimizer!r}.")
    family = "second_moment/"
    if not isinstance(optimizer_state, Mapping) or "step" not in optimizer_state:
        raise InputTypeError(
            "optimizer_state must be what Adam.update returned, such as a checkpoint's "
            f"optimizer_state; got {type(optimizer_state).__name__} without a step."
        )
    step = float(optimizer_state["step"])
    if step < 1:
        raise InputError(
            "optimizer_state must be of at least one step: before the first one Adam has no "
            "denominators. Take a later checkpoint."
        )
    correction = math.sqrt(1.0 - optimizer.beta2**step)
    return {
        key.removeprefix(family): np.asarray(1.0 / (np.sqrt(v) / correction + optimizer.epsilon))
        for key, v in optimizer_state.items()
        if key.startswith(family) and (readout or not key.startswith(f"{family}readout/"))
    }


def learning_rule_alignments(
    rules: Mapping[str, Any],
    reference: str = "bptt",
    errors: ArrayLike | Mapping[str, ArrayLike] | None = None,
    *,
    method: str = "auto",
    n_matvecs: int = 120,
    rng: RNGLike = 0,
) -> LearningRuleAlignments:
    """Compare learning rules: their operators, and what they make of an error.

    Parameters
    ----------
    rules : mapping of str to LinearOperator
        The rules, as :func:`learning_rules` returns them: operators ``(n, n)`` on the same states.
    reference : str
        The rule that others are compared with.
    errors : array_like, shape (B, T, N), or mapping of str to array_like, optional
        ``dloss/dh``, as :func:`kpflow_numerics.state_error` returns it; or one for each rule,
        where a rule has its own, such as one with random feedback of the readout.
    method : {"auto", "dense", "sampled"}
        ``"dense"`` multiplies all n unit vectors, exact to rounding; ``"auto"`` does so up to
        ``n = 2000``. ``"sampled"`` estimates all cosines from the same random vectors.
    n_matvecs : int
        Products of the sampled method with each rule; at least 12.
    rng : int, SeedSequence or Generator
        Source of the random vectors.

    Returns
    -------
    LearningRuleAlignments

    Raises
    ------
    InputError
        If there is no rule of the reference's name, shapes do not fit, or a rule is zero.
    InputTypeError
        If an argument is of the wrong type.

    See Also
    --------
    alignment : Of self-adjoint operators, or of ``A A*`` and ``B B*`` for others.

    Notes
    -----
    Most rules are not self-adjoint, and what is compared is the operators themselves: the inner
    product is ``tr(A* B)``, which is ``E <A z, B z>`` for random z of uncorrelated entries. It is
    how alike the moves are on average over all errors of equal size, while ``states`` compares them
    for the error at hand. :func:`alignment` would compare ``A A*`` with ``B B*``, in which the
    errors that a rule takes and the moves it makes of them are lost: two rules of which one makes
    the opposite move of the other have 1 there and -1 here.

    Sampled, each pair is the split of Hutch++ with a basis of random images of all adjoints, and
    the ratio's error is the jackknife's; all rules share the random vectors.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> found = kpf.learning_rule_alignments(
    ...     kpf.learning_rules(lin, windows=(0, 2, 4)), errors=np.ones((2, 5, 8)))
    >>> round(found.alignment("truncated-4").value, 6), found.update_cosine("functional")
    (1.0, nan)
    >>> found.alignment("truncated-0").value < found.alignment("truncated-2").value < 1
    True
    """
    if not isinstance(rules, Mapping):
        raise InputTypeError(
            f"rules must map names to operators, as kpf.learning_rules returns them; got "
            f"{type(rules).__name__}."
        )
    names = tuple(rules)
    check_choice(reference, "reference", names)
    check_choice(method, "method", METHODS)
    n_matvecs = check_integer(n_matvecs, "n_matvecs", minimum=12)
    generator = check_rng(rng)
    operators = list(rules.values())
    for name, operator in rules.items():
        if not isinstance(operator, LinearOperator):
            raise InputTypeError(
                f"rules[{name!r}] must be a scipy.sparse.linalg.LinearOperator; got "
                f"{type(operator).__name__}."
            )
        n = operators[0].shape[0]
        if operator.shape != (n, n):
            raise InputError(
                "rules must be operators on the same states, of equal shape (n, n); "
                f"{names[0]!r} has {n:,} rows, {name!r} the shape {operator.shape}."
            )
    if method == "auto":
        method = "dense" if operators[0].shape[0] <= DENSE_SIZE else "sampled"
    if method == "dense":
        found = dense_inner_products(operators)
    else:
        found = sampled_inner_products(operators, n_matvecs, generator)
    cosines = found.cosines(names)
    states, updates = None, None
    if errors is not None:
        given = _check_errors(errors, rules)
        moves = [np.ravel(op @ err.ravel()) for op, err in zip(operators, given, strict=True)]
        states = _cosines(moves)
        updates = _cosines([_update(op, err) for op, err in zip(operators, given, strict=True)])
    return LearningRuleAlignments(
        names=names,
        reference=reference,
        operators=cosines.value,
        standard_errors=cosines.standard_error,
        lower=cosines.lower,
        upper=cosines.upper,
        states=states,
        updates=updates,
        method=method,
        n_matvecs=found.n_matvecs,
    )


def _check_errors(
    errors: ArrayLike | Mapping[str, ArrayLike], rules: Mapping[str, Any]
) -> list[FloatArray]:
    if isinstance(errors, Mapping):
        for name in rules:
            if name not in errors:
                raise InputError(
                    f"errors lacks {name!r}; give one array for all rules, or one for each of "
                    f"{', '.join(rules)}."
                )
        given = dict(errors)
    else:
        given = dict.fromkeys(rules, errors)
    found = []
    for name, operator in rules.items():
        shape = getattr(operator, "dims", operator.shape[1:])
        error = check_array(given[name], "errors", shape, dtype=operator.dtype)
        if not error.any():
            raise InputError("errors must not be zero: no rule moves anything then.")
        found.append(error)
    return found


def _update(operator: Any, error: FloatArray) -> FloatArray | None:
    """Return the direction of the parameters, where a rule moves any."""
    if isinstance(operator, LearningRule):
        return operator.update(error)
    if isinstance(operator, TangentKernel):
        return operator.factor.apply_adjoint(error)
    return None


def _cosines(vectors: Sequence[FloatArray | None]) -> FloatArray:
    """Return the cosine of each two vectors; NaN where one is missing or zero."""
    result = np.full((len(vectors), len(vectors)), np.nan)
    units = []
    for vector in vectors:
        size = 0.0 if vector is None else float(np.linalg.norm(vector.astype(np.float64)))
        units.append(None if vector is None or size == 0 else vector.astype(np.float64) / size)
    for i, first in enumerate(units):
        for j, second in enumerate(units):
            if first is not None and second is not None and first.shape == second.shape:
                result[i, j] = np.clip(first @ second, -1.0, 1.0)
    return result
