"""The operators of gradient descent on recurrent networks, one a file."""

from .base import AdjointOperator, StructuredOperator
from .decoupled_sensitivity import DecoupledSensitivity
from .inverse_propagator import InversePropagator
from .kronecker_core import KroneckerCore
from .learning_rules import (
    FeedbackAlignment,
    GaussNewton,
    LearningRule,
    MomentumKernel,
    PreconditionedKernel,
    TruncatedBPTT,
    random_feedback,
)
from .output_kernel import OutputKernel
from .output_sensitivity import OutputSensitivity
from .parameter_jacobian import ParameterJacobian
from .parameter_operator import ParameterOperator
from .propagator import Propagator
from .propagator_gram import PropagatorGram
from .sensitivity import Sensitivity
from .site_operator import SiteOperator
from .tangent_kernel import TangentKernel

__all__ = [
    "AdjointOperator",
    "DecoupledSensitivity",
    "FeedbackAlignment",
    "GaussNewton",
    "InversePropagator",
    "KroneckerCore",
    "LearningRule",
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
    "StructuredOperator",
    "TangentKernel",
    "TruncatedBPTT",
    "random_feedback",
]
