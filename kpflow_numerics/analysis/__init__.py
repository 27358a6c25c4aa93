"""What combines several operators or checkpoints."""

from .accumulated_contributions import ContributionIntegral, accumulated_contribution_cosines
from .checkpoint import DEFAULT_RECIPES, NetworkAnalysis, OperatorRank, analyze_network
from .checkpoint_interference import INTERFERENCE, CheckpointInterference
from .core_comparison import CoreAgainstKernel, core_against_kernel
from .equilibria import FixedPoints, fixed_points
from .failure_signs import FailureSign, SignThresholds, check_thresholds, failure_signs
from .fundamental_solution import FundamentalSolution, VolterraOperator
from .kronecker import SchmidtResult, core_cosine, schmidt_decomposition
from .lyapunov import LyapunovResult, kaplan_yorke_dimension, lyapunov_exponents
from .memory import rank_over_time, retained_directions
from .modes import ModeCourses, mode_courses
from .planting import plant_fixed_points
from .principal_components import PrincipalComponents, principal_components
from .quantities import DEFAULT_QUANTITIES, QUANTITIES, OperatorQuantity
from .rank_bound import RankBound, rank_bounds
from .rule_alignments import (
    LearningRuleAlignments,
    LearningRuleDynamics,
    adam_preconditioner,
    learning_rule_alignments,
    learning_rules,
)
from .self_reference import SelfReferentialBias, self_referential_bias
from .spatial_temporal_rank import SpatialRank, spatial_rank, temporal_rank
from .state_similarity import task_similarity
from .task_interference import InterferenceResult, interference
from .validation import validate

__all__ = [
    "DEFAULT_QUANTITIES",
    "DEFAULT_RECIPES",
    "INTERFERENCE",
    "QUANTITIES",
    "CheckpointInterference",
    "ContributionIntegral",
    "CoreAgainstKernel",
    "FailureSign",
    "FixedPoints",
    "FundamentalSolution",
    "InterferenceResult",
    "LearningRuleAlignments",
    "LearningRuleDynamics",
    "LyapunovResult",
    "ModeCourses",
    "NetworkAnalysis",
    "OperatorQuantity",
    "OperatorRank",
    "PrincipalComponents",
    "RankBound",
    "SchmidtResult",
    "SelfReferentialBias",
    "SignThresholds",
    "SpatialRank",
    "VolterraOperator",
    "accumulated_contribution_cosines",
    "adam_preconditioner",
    "analyze_network",
    "check_thresholds",
    "core_against_kernel",
    "core_cosine",
    "failure_signs",
    "fixed_points",
    "interference",
    "kaplan_yorke_dimension",
    "learning_rule_alignments",
    "learning_rules",
    "lyapunov_exponents",
    "mode_courses",
    "plant_fixed_points",
    "principal_components",
    "rank_bounds",
    "rank_over_time",
    "retained_directions",
    "schmidt_decomposition",
    "self_referential_bias",
    "spatial_rank",
    "task_similarity",
    "temporal_rank",
    "validate",
]
