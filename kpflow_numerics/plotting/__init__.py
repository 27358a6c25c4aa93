"""Figures a paper could print: functions that take results and an Axes, and return the Axes."""

from ._figures import run_figures, save_figures
from ._interference import interference_course, interference_matrix, interference_parts
from ._learning_rules import learning_rules
from ._loss import History, accuracy, loss, read_history
from ._modes import modes
from ._quantities import lyapunov_spectrum, quantity_dynamics
from ._rank_dynamics import rank_dynamics, rank_recipes
from ._signs import failure_sign
from ._source import Record, read_record
from ._spectra import spectra
from ._svg import inline_svg
from ._sweep import place_label, sweep
from ._trajectories import trajectories
from .style import paper_style

__all__ = [
    "History",
    "Record",
    "accuracy",
    "failure_sign",
    "inline_svg",
    "interference_course",
    "interference_matrix",
    "interference_parts",
    "learning_rules",
    "loss",
    "lyapunov_spectrum",
    "modes",
    "paper_style",
    "place_label",
    "quantity_dynamics",
    "rank_dynamics",
    "rank_recipes",
    "read_history",
    "read_record",
    "run_figures",
    "save_figures",
    "spectra",
    "sweep",
    "trajectories",
]
