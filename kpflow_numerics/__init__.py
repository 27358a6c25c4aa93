"""Exact and certified numerics for gradient-descent dynamics of recurrent networks.

The public names are loaded when they are first used, so that importing the package is fast.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "tasks": (
        "Characters",
        "DelayAnti",
        "DelayAntiOneHot",
        "DelayPro",
        "DelayProOneHot",
        "FlipFlop",
        "LowRankForecast",
        "MemoryAnti",
        "MemoryAntiOneHot",
        "MemoryPro",
        "MemoryProOneHot",
        "MultiTask",
        "TrialBatch",
        "task_from_config",
    ),
    "cells": (
        "GRU",
        "LSTM",
        "AutogradCell",
        "LeakyRNN",
        "LowRankRNN",
        "VanillaRNN",
        "cell_from_config",
    ),
    "trajectory": ("Trajectory", "simulate"),
    "core_compression": ("CompressedLinearization", "compress_core"),
    "linearization": ("Linearization", "linearize"),
    "operators": (
        "DecoupledSensitivity",
        "FeedbackAlignment",
        "GaussNewton",
        "InversePropagator",
        "KroneckerCore",
        "MomentumKernel",
        "OutputKernel",
        "OutputSensitivity",
        "ParameterJacobian",
        "ParameterOperator",
        "PreconditionedKernel",
        "Propagator",
        "PropagatorGram",
        "Sensitivity",
        "SiteOperator",
        "TangentKernel",
        "TruncatedBPTT",
        "random_feedback",
    ),
    "training": (
        "SGD",
        "Adam",
        "CrossEntropy",
        "MeanSquaredError",
        "Momentum",
        "TrainingDiverged",
        "TrainingRun",
        "apply_readout",
        "evaluate",
        "fit",
        "gradient_cost",
        "init_readout",
        "loss_and_gradient",
        "optimizer_from_config",
        "output_error",
        "state_error",
    ),
    "interop": ("Network", "load_network", "save_network"),
    "store": ("RunFile", "StoreError", "SweepGrid"),
    "spectral": (
        "SpectralDensity",
        "alignment",
        "effective_rank",
        "eigenvalues",
        "frobenius_norm",
        "inner_product",
        "partial_trace",
        "published_rank",
        "smallest_singular_triplets",
        "spectral_density",
        "top_eigenpairs",
        "top_singular_triplets",
        "trace",
        "uniform_projection",
    ),
    "experiments.analyze": ("analyze",),
    "experiments.learning_rules": ("learning_rule_dynamics",),
    "experiments.sweep": (
        "SweepPlan",
        "SweepStatus",
        "merge_sweep",
        "plan_sweep",
        "report_sweep",
        "run_sweep",
        "sweep_status",
    ),
    "experiments.train": ("train",),
    "analysis": (
        "CoreAgainstKernel",
        "FailureSign",
        "FixedPoints",
        "FundamentalSolution",
        "InterferenceResult",
        "LearningRuleAlignments",
        "LearningRuleDynamics",
        "LyapunovResult",
        "NetworkAnalysis",
        "RankBound",
        "SchmidtResult",
        "SelfReferentialBias",
        "SignThresholds",
        "SpatialRank",
        "accumulated_contribution_cosines",
        "adam_preconditioner",
        "analyze_network",
        "core_against_kernel",
        "core_cosine",
        "failure_signs",
        "fixed_points",
        "interference",
        "learning_rule_alignments",
        "learning_rules",
        "lyapunov_exponents",
        "plant_fixed_points",
        "rank_bounds",
        "rank_over_time",
        "retained_directions",
        "schmidt_decomposition",
        "self_referential_bias",
        "spatial_rank",
        "task_similarity",
        "temporal_rank",
        "validate",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("cells", "operators", "plotting", "tasks", "testing", "training")

__all__ = sorted([*_HOME_OF, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    elif name in _MODULES:
        value = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
