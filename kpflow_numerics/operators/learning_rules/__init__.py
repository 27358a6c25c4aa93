"""Learning rules as operators from errors to moves of the hidden states, one rule a file."""

from .base import LearningRule
from .feedback_alignment import FeedbackAlignment, random_feedback
from .gauss_newton import GaussNewton
from .momentum import MomentumKernel
from .preconditioned import PreconditionedKernel
from .truncated_bptt import TruncatedBPTT

__all__ = [
    "FeedbackAlignment",
    "GaussNewton",
    "LearningRule",
    "MomentumKernel",
    "PreconditionedKernel",
    "TruncatedBPTT",
    "random_feedback",
]
