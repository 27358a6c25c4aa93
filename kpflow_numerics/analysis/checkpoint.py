"""All that is read off a network at one point of its training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .._typing import ArrayLike, FloatArray, ParamsLike, RNGLike
from .._validation import (
    InputError,
    InputTypeError,
    check_choice,
    check_integer,
    check_real,
    check_rng,
)
from ..cells import Cell
from ..linearization import linearize
from ..operators import ParameterOperator, Propagator, StructuredOperator, TangentKernel
from ..readout import check_readout
from ..results import EigenResult, Estimate
from ..spectral import (
    DEFAULT_MAX_MEMORY,
    PUBLISHED_RECIPES,
    RECIPES,
    effective_rank,
    eigenvalues,
    published_rank,
    rank_from_weights,
    top_eigenpairs,
)
from ..tasks import Task, TrialBatch
from ..training import apply_readout
from ..training.losses import loss_of_batch
from ..trajectory import Trajectory, simulate
from .accumulated_contributions import ContributionIntegral
from .activity_quantities import (
    CORE_COSINE,
    SELF_REFERENCE,
    core_quantities,
    self_reference_quantities,
)
from .checkpoint_interference import (
    INTERFERENCE,
    CheckpointInterference,
    interference_of_checkpoint,
)
from .lyapunov import LyapunovResult
from .modes import mode_courses
from .output_quantities import OUTPUT_KERNEL, output_quantities
from .principal_components import principal_components
from .quantities import (
    DEFAULT_QUANTITIES,
    OperatorQuantity,
    check_quantities,
    linearization_quantities,
    operator_quantities,
    remember_closed_forms,
)

DEFAULT_RECIPES: Mapping[str, tuple[str, ...]] = {
    "K": ("participation-ratio", "variance-95-interpolated", "entropy", "stable", "paper-figure-4"),
    "P": ("participation-ratio", "paper-figure-4"),
    "NTK": ("participation-ratio",),
}
"""Recipes of effective rank that :func:`analyze_network` uses for each operator."""

RANK_SAMPLES = 48
"""Products that narrow the bounds of the NTK's participation ratio where they are wide."""

PUBLISHED_TRIALS = 4
"""Equally spaced trials that the ranks of :func:`published_rank` are of, as in the publication."""


@dataclass(frozen=True)
class OperatorRank:
    """Effective rank of an operator.

    Attributes
    ----------
    operator : {"K", "P", "NTK"}
        The operator; the rank of P is that of ``P P*``.
    recipe : str
        How an effective rank is made of a spectrum, as :func:`effective_rank` names it, or the
        recipe of a published figure, as :func:`published_rank` does.
    estimate : Estimate
        The rank, how well it is known, and what it cost.
    """

    operator: str
    recipe: str
    estimate: Estimate


@dataclass(frozen=True, eq=False, repr=False)
class NetworkAnalysis:
    """Ranks, spectra, modes and principal components of a network at one iteration.

    Attributes
    ----------
    iteration : int
        Iteration of training after which the parameters were taken.
    evaluation_loss : float
        Loss on the batch: the task's, without a task the mean squared error; NaN without a readout.
    accuracy : float
        The task's accuracy on the batch; NaN without a readout or a task.
    ranks : tuple of OperatorRank
        Effective ranks of K, P (of ``P P*``) and the NTK.
    spectra : dict of str to ndarray
        Leading eigenvalues, descending, under ``"K"``, ``"P"`` (of ``P P*``) and ``"NTK"``.
    complete : dict of str to bool
        For each spectrum, whether all its eigenpairs converged and the certificate found no
        larger eigenvalue left out.
    methods : dict of str to str
        The solver of each spectrum.
    modes : dict of str to ndarray, shape (r, B, T)
        Course over trials and steps of the leading eigenvectors of ``"K"`` and ``"NTK"``.
    mode_fractions : dict of str to ndarray, shape (r,)
        Share of each mode that its course explains.
    principal_components : ndarray, shape (B, T, 3)
        Hidden states along their three principal directions, centred.
    explained_variance : ndarray, shape (3,)
        Share of the variance along each direction, from 0 to 1.
    n_products : dict of str to int
        Products of single columns that the ranks and the spectrum of each operator took, with its
        factors counted.
    quantities : tuple of OperatorQuantity
        Traces, norms, alignments and others, each with its own cost.
    lyapunov : dict of str to ndarray, shape (N,)
        ``"exponents"``, descending, with ``"lower"``, ``"upper"`` and ``"standard_errors"``; empty
        where they were not asked for.
    interference : CheckpointInterference or None
        How tasks or conditions interfere; None where there are fewer than two, or no readout.
    """

    iteration: int
    evaluation_loss: float
    accuracy: float
    ranks: tuple[OperatorRank, ...]
    spectra: dict[str, FloatArray]
    complete: dict[str, bool]
    methods: dict[str, str]
    modes: dict[str, FloatArray]
    mode_fractions: dict[str, FloatArray]
    principal_components: FloatArray
    explained_variance: FloatArray
    n_products: dict[str, int]
    quantities: tuple[OperatorQuantity, ...] = ()
    lyapunov: dict[str, FloatArray] = field(default_factory=dict)
    interference: CheckpointInterference | None = None

    def __repr__(self) -> str:
        loss = "" if np.isnan(self.evaluation_loss) else f"loss {self.evaluation_loss:.4g}, "
        ranks = ", ".join(
            f"{'P P*' if entry.operator == 'P' else entry.operator} {_shortly(entry.estimate)}"
            for entry in self.ranks
            if entry.recipe == "participation-ratio"
        )
        return (
            f"NetworkAnalysis(iteration {self.iteration}: {loss}"
            f"participation ratios {ranks or 'none'})"
        )

    def quantity(self, name: str, *operators: str) -> Estimate:
        """Return a quantity by its name and its operators, in any order.

        Raises
        ------
        InputError
            If the analysis holds no such quantity; the message lists those it holds.
        """
        for entry in self.quantities:
            if entry.name == name and set(entry.operators) == set(operators):
                return entry.estimate
        held = "; ".join(
            f"{entry.name} of {', '.join(entry.operators) or 'the trajectory'}"
            for entry in self.quantities
        )
        raise InputError(
            f"The analysis holds no {name!r} of {', '.join(operators) or 'the trajectory'}; it "
            f"holds {held or 'none'}."
        )

    def rank(self, operator: str, recipe: str = "participation-ratio") -> Estimate:
        """Return the effective rank of an operator by a recipe.

        Raises
        ------
        InputError
            If the analysis holds no such rank; the message lists those it holds.
        """
        for entry in self.ranks:
            if (entry.operator, entry.recipe) == (operator, recipe):
                return entry.estimate
        held = ", ".join(f"{entry.operator} by {entry.recipe}" for entry in self.ranks)
        raise InputError(
            f"The analysis holds no effective rank of {operator!r} by {recipe!r}; it holds {held}."
        )


def _shortly(estimate: Estimate) -> str:
    if estimate.is_exact:
        return f"{estimate.value:.4g}"
    return f"{estimate.value:.4g} in [{estimate.lower:.4g}, {estimate.upper:.4g}]"


def analyze_network(
    cell: Cell,
    params: ParamsLike,
    batch: TrialBatch,
    *,
    task: Task | None = None,
    iteration: int = 0,
    readout: ParamsLike | None = None,
    h0: ArrayLike | None = None,
    recipes: Mapping[str, Sequence[str]] = DEFAULT_RECIPES,
    spectra: Sequence[str] = ("K", "P", "NTK"),
    quantities: Sequence[str] = DEFAULT_QUANTITIES,
    interference: str = "tasks",
    contributions: ContributionIntegral | None = None,
    n_eigenpairs: int = 20,
    n_modes: int = 3,
    tolerance: float = 1e-6,
    max_memory: float = DEFAULT_MAX_MEMORY,
    rng: RNGLike = 0,
) -> NetworkAnalysis:
    """Measure ranks, spectra, modes and principal components of a network.

    Parameters
    ----------
    cell : Cell
        The cell.
    params : mapping of str to array_like
        Its parameters, whose precision is that of the whole analysis.
    batch : TrialBatch
        The trials along which the network is linearised.
    task : Task, optional
        Judges the outputs, and says of which loss the value and all errors are; without it the
        accuracy is NaN and the loss that of the batch.
    iteration : int
        Iteration of training that the parameters are of.
    readout : mapping of str to array_like, optional
        ``weight (O, H)`` and ``bias (O,)``; without it loss and accuracy are NaN.
    h0 : array_like, shape (N,) or (B, N), optional
        Initial state; zero by default.
    recipes : mapping of str to sequence of str
        Recipes of effective rank for each of ``"K"``, ``"P"`` and ``"NTK"``; an operator that is
        left out gets no rank. ``"paper-figure-4"`` is no rank of the operator: see
        :func:`published_rank`; it is of four trials, equally spaced among those of the batch.
    spectra : sequence of {"K", "P", "NTK"}
        Operators whose leading eigenpairs are found; K and the NTK are needed for the modes. That
        of ``P P*`` is dear at the start of training, where nearly all its eigenvalues are alike.
    quantities : sequence of str
        Among ``"trace"``, ``"frobenius-norm"`` (of K, ``P P*`` and the NTK), ``"alignment"`` (of
        each two of them), ``"rank-bound"`` (each weight site of K, see :func:`rank_bounds`),
        ``"schmidt-rank"`` (K's, see :func:`schmidt_decomposition`), ``"lyapunov"`` (the exponents
        and the Kaplan-Yorke dimension), ``"rank-over-time"``, ``"retained-directions"``,
        ``"output-kernel"`` (trace and participation ratio of :class:`OutputKernel`, by the cell's
        parameters and by all), ``"core-cosine"`` (:func:`core_against_kernel`, beside ones) and
        ``"self-reference"`` (:func:`self_referential_bias` in five modes, beside 64 random errors
        of each kind). The first three, ``"rank-over-time"`` and ``"retained-directions"`` are the
        default, whose closed forms the ranks need anyway; an alignment whose closed form takes
        more than 5e9 flops is sampled with 30 products. The dearest is ``"core-cosine"``: as many
        products of the sensitivity as there are parameters.
    interference : {"tasks", "conditions", "none"}
        Between what interference is found: tasks, where the batch has trials of several, or rows
        of its condition table. It needs a readout, and is exact.
    contributions : ContributionIntegral, optional
        What adds up the tasks' contributions over calls in the order of the iterations.
    n_eigenpairs : int
        Leading eigenpairs of K, P P* and the NTK, at most the rank that each can have. More of
        them narrow the bounds of the NTK's rank.
    n_modes : int
        Modes of K and the NTK whose courses are kept.
    tolerance : float
        Residuals of the eigenpairs relative to the operator's norm. The error of an eigenvalue is
        at most this, and mostly about its square.
    max_memory : float
        Bytes of working memory that any one computation may take.
    rng : int, SeedSequence or Generator
        Source of the random columns of solvers and certificates.

    Returns
    -------
    NetworkAnalysis

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used, or the network does not fit the batch.
    MemoryLimitError
        If a computation would take more than `max_memory`.

    Notes
    -----
    The spectrum of K is exact for cells with weight sites, from ``H`` small eigenproblems, and so
    are its ranks by every recipe; the rank of P is exact, through Gramians, in ``O(B T N^3)``
    flops; the participation ratio of the NTK lies between certain bounds, from its exact trace in
    ``O(B T^2 N^3)`` flops and its leading eigenvalues, or where these are wide in a 95 % interval
    from 48 random products. Each further pair costs some ten products
    of ``O(B T p)`` flops. For other cells the ranks are what :func:`effective_rank` can have.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> task = kpf.MemoryPro(n_stimulus=2, n_memory=2, n_response=2)
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> analysis = kpf.analyze_network(
    ...     cell, cell.init_params(rng=3), task.evaluation_batch(4), n_eigenpairs=5)
    >>> {name: len(values) for name, values in analysis.spectra.items()}
    {'K': 5, 'P': 5, 'NTK': 5}
    >>> 1 <= analysis.rank("K").value <= 4 * 6 * 8
    True
    """
    if not isinstance(batch, TrialBatch):
        raise InputTypeError(f"batch must be a TrialBatch; got {type(batch).__name__}.")
    iteration = check_integer(iteration, "iteration", minimum=0)
    n_eigenpairs = check_integer(n_eigenpairs, "n_eigenpairs")
    n_modes = check_integer(n_modes, "n_modes", minimum=0)
    tolerance = check_real(tolerance, "tolerance", minimum=0, maximum=1, open_minimum=True)
    recipes = _check_recipes(recipes)
    for name in spectra:
        check_choice(name, "an operator of spectra", DEFAULT_RECIPES)
    wanted_quantities = check_quantities(quantities)
    check_choice(interference, "interference", INTERFERENCE)
    generator = check_rng(rng)
    trajectory = simulate(cell, params, batch.inputs, h0)
    if task is not None:
        batch = replace(batch, loss_name=task.loss_name)
    evaluation_loss, accuracy = _evaluate(trajectory, batch, task, readout)
    linearization = linearize(trajectory)
    propagator = Propagator(linearization)
    operators: dict[str, StructuredOperator] = {
        "K": ParameterOperator(linearization),
        "P": propagator.gram,
        "NTK": TangentKernel(linearization),
    }
    for operator in operators.values():
        remember_closed_forms(operator)
    published = _published_operators(trajectory, recipes)
    pairs: dict[str, EigenResult] = {}
    ranks: list[OperatorRank] = []
    products: dict[str, int] = {}
    for name, operator in operators.items():
        products[name] = 0
        if name in spectra:
            pairs[name] = top_eigenpairs(
                operator,
                min(n_eigenpairs, *operator.factor.shape),
                tolerance=max(tolerance, float(np.finfo(operator.dtype).eps) ** (2 / 3)),
                max_memory=max_memory,
                rng=generator,
            )
            products[name] += pairs[name].n_matvecs
        wanted = recipes.get(name, ())
        honest = [recipe for recipe in wanted if recipe not in PUBLISHED_RECIPES]
        found = _ranks(name, operator, honest, pairs.get(name), max_memory, generator)
        found += [
            OperatorRank(name, recipe, published_rank(published[name], max_memory=max_memory))
            for recipe in wanted
            if recipe in PUBLISHED_RECIPES
        ]
        found.sort(key=lambda rank: wanted.index(rank.recipe))
        ranks += found
        products[name] += sum(rank.estimate.n_matvecs for rank in found)
    numbers, exponents = linearization_quantities(
        wanted_quantities, linearization, operators["K"], max_memory, generator
    )
    participation = {
        rank.operator: rank.estimate for rank in ranks if rank.recipe == "participation-ratio"
    }
    numbers = [
        *operator_quantities(wanted_quantities, operators, participation, max_memory, generator),
        *numbers,
    ]
    weights = None if readout is None else check_readout(readout, cell.n_units)
    if OUTPUT_KERNEL in wanted_quantities:
        numbers += output_quantities(linearization, weights, max_memory, generator)
    if CORE_COSINE in wanted_quantities:
        numbers += core_quantities(linearization, max_memory)
    if SELF_REFERENCE in wanted_quantities:
        numbers += self_reference_quantities(linearization, weights, batch, max_memory, generator)
    courses = {
        name: mode_courses(pairs[name].vectors, linearization.dims, n_modes)
        for name in ("K", "NTK")
        if name in pairs
    }
    components = principal_components(trajectory.hidden, 3)
    interferes = None if weights is None else interference_of_checkpoint(
        linearization, weights, batch, interference,
        integral=contributions, iteration=iteration, max_memory=max_memory,
    )  # fmt: skip
    return NetworkAnalysis(
        iteration=iteration,
        evaluation_loss=evaluation_loss,
        accuracy=accuracy,
        ranks=tuple(ranks),
        spectra={name: result.values for name, result in pairs.items()},
        complete={name: result.converged and result.complete for name, result in pairs.items()},
        methods={name: result.method for name, result in pairs.items()},
        modes={name: found.courses for name, found in courses.items()},
        mode_fractions={name: found.fractions for name, found in courses.items()},
        principal_components=components.scores,
        explained_variance=components.fractions,
        n_products=products,
        quantities=tuple(numbers),
        lyapunov=_exponents(exponents),
        interference=interferes,
    )


def _exponents(result: LyapunovResult | None) -> dict[str, FloatArray]:
    if result is None:
        return {}
    return {
        "exponents": result.exponents,
        "lower": result.lower,
        "upper": result.upper,
        "standard_errors": result.standard_errors,
    }


def _check_recipes(recipes: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    if not isinstance(recipes, Mapping):
        raise InputTypeError(
            "recipes must map operators to sequences of recipes, such as "
            f"{{'K': ['entropy']}}; got {type(recipes).__name__}."
        )
    checked = {}
    for operator, names in recipes.items():
        check_choice(operator, "an operator of recipes", DEFAULT_RECIPES)
        if isinstance(names, str):
            raise InputTypeError(
                f"recipes[{operator!r}] must be a sequence of recipes; got the string {names!r}."
            )
        checked[operator] = tuple(
            check_choice(name, f"recipes[{operator!r}]", (*RECIPES, *PUBLISHED_RECIPES))
            for name in names
        )
    return checked


def _evaluate(
    trajectory: Trajectory,
    batch: TrialBatch,
    task: Task | None,
    readout: ParamsLike | None,
) -> tuple[float, float]:
    if readout is None:
        return math.nan, math.nan
    checked = check_readout(
        readout, trajectory.cell.n_units, batch.n_outputs, dtype=trajectory.dtype
    )
    outputs = apply_readout(checked, trajectory.hidden)
    value = loss_of_batch(None, batch).value(outputs, batch.targets, batch.mask)
    return value, math.nan if task is None else task.accuracy(outputs, batch)


def _published_operators(
    trajectory: Trajectory, recipes: Mapping[str, Sequence[str]]
) -> dict[str, StructuredOperator]:
    """Return the operators on the few trials that the recipes of published figures are of."""
    if not any(recipe in PUBLISHED_RECIPES for names in recipes.values() for recipe in names):
        return {}
    n_trials = len(trajectory.inputs)
    n_chosen = min(n_trials, PUBLISHED_TRIALS)
    chosen = np.arange(n_chosen) * n_trials // n_chosen
    few = linearize(
        simulate(
            trajectory.cell, trajectory.params, trajectory.inputs[chosen], trajectory.h0[chosen]
        )
    )
    return {"K": ParameterOperator(few), "P": Propagator(few), "NTK": TangentKernel(few)}


def _ranks(
    name: str,
    operator: StructuredOperator,
    recipes: Sequence[str],
    pairs: EigenResult | None,
    max_memory: float,
    rng: np.random.Generator,
) -> list[OperatorRank]:
    """Return the ranks of an operator, several of them from one computation of its spectrum."""
    cost = operator.exact_cost("eigenvalues")
    if len(recipes) > 1 and cost is not None and cost.memory_bytes <= max_memory:
        spectrum = eigenvalues(operator, max_memory=max_memory)
        estimates = []
        for recipe in recipes:
            value = rank_from_weights(spectrum.values, recipe)
            estimates.append(
                Estimate(
                    value,
                    value,
                    value,
                    0.0,
                    spectrum.method,
                    spectrum.n_matvecs,
                    "effective rank",
                    recipe,
                    cost=spectrum.cost,
                )
            )
    else:
        estimates = [
            effective_rank(
                operator,
                recipe,
                known_pairs=pairs,
                n_samples=RANK_SAMPLES,
                max_memory=max_memory,
                rng=rng,
            )
            for recipe in recipes
        ]
    return [
        OperatorRank(name, recipe, estimate)
        for recipe, estimate in zip(recipes, estimates, strict=True)
    ]
