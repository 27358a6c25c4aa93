"""Training: readout, losses, optimisers, backpropagation through time, and the loop."""

from ..readout import apply_readout, check_readout, init_readout
from .bptt import Evaluation, LossGradient, evaluate, loss_and_gradient
from .costs import gradient_cost
from .gradient_norm import clip_gradient_norm
from .loop import fit
from .losses import Loss, MeanSquaredError, output_error, state_error
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
    "OPTIMIZERS",
    "SGD",
    "Adam",
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
    "optimizer_from_config",
    "output_error",
    "state_error",
]
