"""What combines several operators or checkpoints."""

from .checkpoint import DEFAULT_RECIPES, NetworkAnalysis, OperatorRank, analyze_network
from .modes import ModeCourses, mode_courses
from .principal_components import PrincipalComponents, principal_components
from .validation import validate

__all__ = [
    "DEFAULT_RECIPES",
    "ModeCourses",
    "NetworkAnalysis",
    "OperatorRank",
    "PrincipalComponents",
    "analyze_network",
    "mode_courses",
    "principal_components",
    "validate",
]
