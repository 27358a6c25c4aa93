"""
Ranks of K, P and the tangent kernel over training
==================================================

GRUs and vanilla networks learn Memory-Pro, its one-hot variant and the flip-flop, and at
checkpoints the participation ratios of K, P P* and the NTK are found, beside the recipe of the
published Figure 4. It shows that K stays of low rank throughout while P starts with nearly all of
its dimensions, and that the published recipe, a rank of one averaged direction, tells another story
than the operator itself.
"""

import sys

import matplotlib.pyplot as plt

import kpflow_numerics as kpf

SIZES = {
    "small": {
        "tasks": {"memory-pro": {"n_stimulus": 4, "n_memory": 4, "n_response": 4}},
        "kinds": ("gru",),
        "n_units": 16,
        "n_iterations": 60,
        "n_checkpoints": 2,
        "n_trials": 6,
    },
    "full": {
        "tasks": {"memory-pro": {}, "memory-pro-one-hot": {}, "flip-flop": {}},
        "kinds": ("gru", "vanilla-rnn"),
        "n_units": 64,
        "n_iterations": 2000,
        "n_checkpoints": 10,
        "n_trials": 20,
    },
}
RECIPES = ("participation-ratio", "paper-figure-4")
OPERATORS = {"K": "C0", "P": "C1", "NTK": "C2"}


def follow(task, kind, seed, n_units, n_iterations, n_checkpoints, n_trials, learning_rate):
    """Return the analyses of a network's checkpoints."""
    cell = kpf.cell_from_config(kind, {"n_inputs": task.n_inputs, "n_units": n_units})
    run = kpf.train(
        cell, task, n_iterations=n_iterations, checkpoint_every=n_iterations // n_checkpoints,
        optimizer=kpf.Adam(learning_rate), rng=seed, dtype="float32",
    )  # fmt: skip
    return [
        kpf.analyze_network(
            cell, checkpoint.params, task.evaluation_batch(n_trials), task=task,
            iteration=checkpoint.iteration, readout=checkpoint.readout, spectra=("NTK",),
            recipes={"K": RECIPES, "P": RECIPES, "NTK": RECIPES[:1]}, quantities=(),
        )
        for checkpoint in run.checkpoints
    ]  # fmt: skip


def main(scale="small", *, seed=3, learning_rate=2e-3, **sizes):
    """Train, analyse, print and draw; return ranks by task, cell, operator and recipe."""
    sizes = SIZES[scale] | sizes
    tasks, kinds = sizes.pop("tasks"), sizes.pop("kinds")
    found = {}
    for kind in kinds:
        _, axes = plt.subplots(
            len(RECIPES), len(tasks), figsize=(3.6 * len(tasks) + 1, 5), sharex=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for column, (name, options) in enumerate(tasks.items()):
            task = kpf.task_from_config(name, options)
            analyses = follow(task, kind, seed, **sizes, learning_rate=learning_rate)
            found[f"{name}, {kind}, loss"] = [a.evaluation_loss for a in analyses]
            for place, recipe in enumerate(RECIPES):
                draw(axes[place, column], analyses, recipe)
            axes[0, column].set_title(f"{kind} on {name}")
            axes[-1, column].set_xlabel("iteration")
            for operator, recipe in ((r.operator, r.recipe) for r in analyses[0].ranks):
                values = [analysis.rank(operator, recipe).value for analysis in analyses]
                found[f"{name}, {kind}, {operator}, {recipe}"] = values
    for key, values in found.items():
        print(f"{key}: {', '.join(f'{value:.3g}' for value in values)}")
    return found


def draw(ax, analyses, recipe):
    """Draw the ranks by one recipe, with bars where they are not exact."""
    for operator, colour in OPERATORS.items():
        if (operator, recipe) in {(r.operator, r.recipe) for r in analyses[0].ranks}:
            found = [analysis.rank(operator, recipe) for analysis in analyses]
            reach = [[e.value - e.lower for e in found], [e.upper - e.value for e in found]]
            ax.errorbar([a.iteration for a in analyses], [e.value for e in found], reach,
                        fmt="o-", ms=3, capsize=2, color=colour,
                        label="$PP^*$" if operator == "P" else operator)  # fmt: skip
    ax.set(ylabel=f"rank, {recipe}", yscale="log")
    ax.legend()


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
