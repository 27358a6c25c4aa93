"""
Planted fixed points
====================

Networks learn with none or five stable fixed points planted in W, or with a random change of W of
the same singular values. The forecast's third target mode (singular vectors over trials and time)
is learned some hundred iterations later from planted points, though these are gone within fifty, as
the last panel shows; that of Memory-Pro sooner. Lines are medians, bands ranges over seeds.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {"units": 16, "iterations": 20, "n_trials": 8, "seeds": (3, 4), "steps": 3},
    "full": {"units": 64, "iterations": 1000, "n_trials": 32, "seeds": range(3, 9), "steps": 10},
}
STARTS = {"0 points": "C0", "5 points": "C3", "random change": "C7"}
MODE = 3


def make_task(name, n_steps):
    """Return the task, and the input under which points are planted."""
    if name == "memory-pro":
        task = kpf.MemoryPro(n_stimulus=n_steps, n_memory=n_steps, n_response=n_steps)
        return task, np.array([1.0, 0.0, 0.0])
    task = kpf.LowRankForecast(n_embedded_inputs=20, n_embedded_outputs=20, n_steps=3 * n_steps)
    return task, task.evaluation_batch(64).inputs.mean(axis=(0, 1))


def starting_weights(cell, seed, x, height):
    """Return the parameters of each start, and the points."""
    params = cell.init_params(rng=seed)
    rng = np.random.default_rng(seed)
    points = height * rng.choice([-1.0, 1.0], (5, cell.n_units))
    planted = kpf.plant_fixed_points(cell, params, x, points)
    values = np.linalg.svd(planted["weight_hh"] - params["weight_hh"], compute_uv=False)[:5]
    U, V = (np.linalg.qr(rng.standard_normal((cell.n_units, 5)))[0] for _ in range(2))
    random = params | {"weight_hh": params["weight_hh"] + (U * values) @ V.T}
    return dict(zip(STARTS, (params, planted, random), strict=True)), points


def measure(cell, checkpoint, batch, mode, x, points):
    """Return what a checkpoint has of the target mode ``(B, T, O)``, of unit norm."""
    trajectory = kpf.simulate(cell, checkpoint.params, batch.inputs)
    outputs = kpf.apply_readout(checkpoint.readout, trajectory.hidden)
    kernel = kpf.OutputKernel(kpf.linearize(trajectory), checkpoint.readout, parameters="cell")
    quotient = np.vdot(mode, kernel.matvec(mode.ravel()))
    found = kpf.fixed_points(cell, checkpoint.params, x, points)
    near = np.linalg.norm(points[:, None] - found.states, axis=2) / np.linalg.norm(points[0])
    return {
        "share of mode 3": np.vdot(mode, outputs) / np.vdot(mode, batch.targets),
        "Rayleigh quotient on mode 3": quotient,
        "quotient over mean eigenvalue": quotient / (kpf.trace(kernel).value / mode.size),
        "evaluation loss": checkpoint.evaluation_loss,
        "planted points left": np.sum(np.any((near < 0.2) & found.stable, axis=1)),
    }


def main(scale="small", *, task="low-rank-forecast", height=0.8, learning_rate=1e-3, **sizes):
    """Train from each start and seed; print, draw and return the courses, a row a seed."""
    size = SIZES[scale] | sizes
    task, x = make_task(task, size["steps"])
    cell = kpf.VanillaRNN(task.n_inputs, size["units"])
    batch = task.evaluation_batch(size["n_trials"])
    left, _, right = np.linalg.svd(batch.targets.reshape(-1, task.n_outputs), False)
    mode = np.outer(left[:, MODE - 1], right[MODE - 1]).reshape(batch.targets.shape)
    courses, every = {}, size["iterations"] // 20
    for seed in size["seeds"]:
        starts, points = starting_weights(cell, seed, x, height)
        for start, params in starts.items():
            run = kpf.fit(
                cell, task, params=params, n_iterations=size["iterations"], batch_size=32,
                optimizer=kpf.Adam(learning_rate), checkpoint_every=every, rng=seed,
            )  # fmt: skip
            rows = [measure(cell, each, batch, mode, x, points) for each in run.checkpoints]
            for name in rows[0]:
                of_start = courses.setdefault(name, {}).setdefault(start, [])
                of_start.append([row[name] for row in rows])
    iterations = [each.iteration for each in run.checkpoints]
    for name, by_start in courses.items():
        print(f"{name}: median [smallest, largest] of {len(size['seeds'])} seeds")
        for start, values in by_start.items():
            for place in (0, len(iterations) // 5, len(iterations) // 2, -1):
                at = np.array(values)[:, place]
                print(f"   {start}, iteration {iterations[place]}: {np.median(at):.3g} "
                      f"[{at.min():.3g}, {at.max():.3g}]")  # fmt: skip
    draw(iterations, courses)
    return courses


def draw(iterations, courses):
    """Draw the median and the range of each quantity over training."""
    _, panels = plt.subplots(1, len(courses), figsize=(16, 3.3), layout="constrained")
    for panel, name in zip(panels, courses, strict=True):
        for start, values in courses[name].items():
            panel.plot(iterations, np.median(values, axis=0), color=STARTS[start], label=start)
            band = np.min(values, axis=0), np.max(values, axis=0)
            panel.fill_between(iterations, *band, color=STARTS[start], alpha=0.2, lw=0)
        scale = "log" if name in ("Rayleigh quotient on mode 3", "evaluation loss") else "linear"
        panel.set(xlabel="iteration", title=name, yscale=scale)
    panels[0].legend(frameon=False)


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
