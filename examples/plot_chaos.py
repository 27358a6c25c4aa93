"""
Lyapunov exponents of maps of one's own
=======================================

The Hénon map and the Lorenz system become cells by their step alone, written with autograd. It
shows that the exponents found along the linearised trajectory are the known ones (0.419 and -1.623;
0.906, 0 and -14.57) within their error, and that a chaotic trajectory leaves P of a rank far below
its 200 steps times the size of the state: the last growth outweighs everything before it.
"""

import sys

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {"small": {"n_steps": 2000, "n_trials": 2}, "full": {"n_steps": 20_000, "n_trials": 4}}
DT = 0.01


def henon(params, x, h):
    """Return the next state; `x` is not used."""
    a, b = params["ab"]
    return anp.stack([1 - a * h[:, 0] ** 2 + h[:, 1] + 0 * x[:, 0], b * h[:, 0]], axis=1)


def lorenz_flow(params, h):
    """Return dh/dt."""
    sigma, rho, beta = params["sigma_rho_beta"]
    x, y, z = h[:, 0], h[:, 1], h[:, 2]
    return anp.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z], axis=1)


def lorenz(params, x, h):
    """Return the state a Runge-Kutta step later; `x` is not used."""
    k1 = lorenz_flow(params, h + 0 * x)
    k2 = lorenz_flow(params, h + DT / 2 * k1)
    k3 = lorenz_flow(params, h + DT / 2 * k2)
    k4 = lorenz_flow(params, h + DT * k3)
    return h + DT / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


SYSTEMS = {
    "Hénon": (henon, {"ab": (1.4, 0.3)}, 2, 1.0, 0.1),
    "Lorenz": (lorenz, {"sigma_rho_beta": (10.0, 28.0, 8 / 3)}, 3, DT, 1.0),
}


def main(scale="small", *, seed=7, **sizes):
    """Print exponents, dimension and rank of P of each system, and draw its trajectories."""
    sizes = SIZES[scale] | sizes
    n_trials, n_steps = sizes["n_trials"], sizes["n_steps"]
    _, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    found = {}
    for ax, (name, (step, values, size, dt, spread)) in zip(axes, SYSTEMS.items(), strict=True):
        params = {key: np.array(value) for key, value in values.items()}
        shapes = {key: value.shape for key, value in params.items()}
        cell = kpf.AutogradCell(step, shapes, n_inputs=1, n_units=size)
        start = spread * (0.5 + 0.1 * np.random.default_rng(seed).random((n_trials, size)))
        traj = kpf.simulate(cell, params, np.zeros((n_trials, n_steps, 1)), start)
        exponents = kpf.lyapunov_exponents(kpf.linearize(traj), discard=n_steps // 10, dt=dt)
        short = kpf.simulate(cell, params, np.zeros((1, 200, 1)), traj.states[:1, -1])
        rank = kpf.effective_rank(kpf.Propagator(kpf.linearize(short)))
        print(f"{name}: {exponents!r}\n   rank of P P* of 200 steps: {rank!r}")
        for index, exponent in enumerate(exponents.exponents):
            found[f"{name}, exponent {index + 1}"] = exponent
        found[f"{name}, Kaplan-Yorke"] = exponents.kaplan_yorke.value
        found[f"{name}, rank of P"] = rank.value
        ax.plot(traj.states[0, :, 0], traj.states[0, :, -1], ",k" if size == 2 else "k-", lw=0.3)
        ax.set(xlabel="first coordinate", ylabel="last coordinate", title=name)
    return found


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
