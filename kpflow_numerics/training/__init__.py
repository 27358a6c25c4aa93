"""Training: readout, losses, optimisers, backpropagation through time, and the loop."""

from ..readout import apply_readout, check_readout, init_readout
from .bptt import Evaluation, LossGradient, evaluate, loss_and_gradient
from .costs import gradient_cost
from .gradient_norm import clip_gradient_norm
from .loop import fit
from .losses import (
    LOSSES,
    CrossEntropy,
    Loss,
    MeanSquaredError,
    loss_of_task,
    output_error,
    state_error,
)
from .optimizers import (
    OPTIMIZERS,
    SGD,
    Adam,
    Momentum,
    Optimizer,
    optimizer_from_config,
)
from .run import TrainingDiverged, TrainingRun

__all__ = [
    "LOSSES",
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "CrossEntropy",
    "Evaluation",
    "Loss",
    "LossGradient",
    "MeanSquaredError",
    "Momentum",
    "Optimizer",
    "TrainingDiverged",
    "TrainingRun",
    "apply_readout",
    "check_readout",
    "clip_gradient_norm",
    "evaluate",
    "fit",
    "gradient_cost",
    "init_readout",
    "loss_and_gradient",
    "loss_of_task",
    "optimizer_from_config",
    "output_error",
    "state_error",
]
