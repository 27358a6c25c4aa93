"""
Learning rules as operators
===========================

Every rule that moves the parameters by a linear function of the error is an operator from errors to
moves of the hidden states, and two rules have a cosine: of the operators (their moves averaged over
all errors), of the moves that the error at hand causes, and of the updates of the parameters.

The cosines are taken with backpropagation through time, ``P K P*``, at checkpoints of networks that
Adam has trained on Memory-Pro. The updates tell which rules still go downhill, and how far from the
steepest way; the operators how much of that is not owed to the particular error.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {
        "units": 8, "steps": 4, "iterations": 30, "n_trials": 4, "windows": (0, 2),
        "n_matvecs": 40, "seeds": (3,),
    },
    "full": {
        "units": 64, "steps": 30, "iterations": 1000, "n_trials": 6, "windows": (0, 10),
        "n_matvecs": 100, "seeds": (3, 4, 5),
    },
}  # fmt: skip
CELLS = {"vanilla-rnn": kpf.VanillaRNN, "gru": kpf.GRU}


def main(scale="small", *, kind="vanilla-rnn", learning_rate=2e-3, gain=1.0, folder=None, **sizes):
    """Train, compare, print and draw; returns each cosine, a row a seed, a column a checkpoint.

    `sizes` are entries of SIZES to change; runs that are in `folder` already are not trained again.
    """
    size = SIZES[scale] | sizes
    steps = size["steps"]
    task = kpf.MemoryPro(n_stimulus=steps, n_memory=steps, n_response=steps)
    cell = CELLS[kind](n_inputs=task.n_inputs, n_units=size["units"])
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in size["seeds"]:
            path = Path(temporary if folder is None else folder) / f"rules-{kind}-{seed}.h5"
            if not path.exists():
                kpf.train(
                    cell,
                    task,
                    params=cell.init_params(gain, rng=seed),
                    n_iterations=size["iterations"],
                    optimizer=kpf.Adam(learning_rate),
                    checkpoint_every=size["iterations"] // 5,
                    evaluation_trials=size["n_trials"],
                    rng=seed,
                    store=path,
                )
            found.append(
                kpf.learning_rule_dynamics(
                    path,
                    n_checkpoints=6,
                    windows=size["windows"],
                    n_matvecs=size["n_matvecs"],
                    rng=seed,
                )
            )
    numbers = table(found)
    print(f"{cell}: cosine with P K P*, mean [smallest, largest] of {len(found)} seeds")
    for name, course in numbers.items():
        print(f"{name}:")
        for iteration, values in course.items():
            mean, low, high = np.mean(values), min(values), max(values)
            print(f"    iteration {iteration}: {mean:.3f} [{low:.3f}, {high:.3f}]")
    draw(found)
    return numbers


def table(found):
    """Return loss and cosines by name and iteration, a number a seed."""
    losses = np.array([run.evaluation_losses for run in found]).T.tolist()
    numbers = {"evaluation loss": dict(zip(found[0].iterations, losses, strict=True))}
    for quantity in ("operators", "states", "updates"):
        for name in found[0].names[1:]:
            course = numbers.setdefault(f"{quantity}, {name}", {})
            for run in found:
                for iteration, cosine in run.course(name, quantity):
                    course.setdefault(iteration, []).append(float(cosine))
    return {name: course for name, course in numbers.items() if course}


def draw(found):
    """Draw the three cosines side by side, under one key."""
    with kpf.plotting.paper_style():
        figure, axes = plt.subplots(1, 3, figsize=(6.8, 2.6), layout="constrained", sharey=True)
        for ax, quantity in zip(axes, ("operators", "states", "updates"), strict=True):
            kpf.plotting.learning_rules(found, quantity=quantity, ax=ax)
            ax.get_legend().remove()
        handles, labels = axes[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=4)
    return figure


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
    plt.show()
