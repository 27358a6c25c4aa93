"""What combines several operators or checkpoints."""

from .checkpoint import DEFAULT_RECIPES, NetworkAnalysis, OperatorRank, analyze_network
from .kronecker import SchmidtResult, core_cosine, schmidt_decomposition
from .modes import ModeCourses, mode_courses
from .principal_components import PrincipalComponents, principal_components
from .rank_bound import RankBound, rank_bounds
from .validation import validate

__all__ = [
    "DEFAULT_RECIPES",
    "ModeCourses",
    "NetworkAnalysis",
    "OperatorRank",
    "PrincipalComponents",
    "RankBound",
    "SchmidtResult",
    "analyze_network",
    "core_cosine",
    "mode_courses",
    "principal_components",
    "rank_bounds",
    "schmidt_decomposition",
    "validate",
]
