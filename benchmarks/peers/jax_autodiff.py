"""Products through JAX's automatic differentiation, compiled: vjp, then jvp, of one ``lax.scan``.

The pass along the trajectory is linearised once, outside of what is timed; every product reuses
its residuals, vmapped over the columns of a block ``(k, T, B, N)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .contract import Problem

jax.config.update("jax_enable_x64", True)

Weights = dict[str, jax.Array]


class Peer:
    def __init__(self, problem: Problem, dtype: str) -> None:
        self.problem, self.dtype = problem, dtype
        self.weights = {k: jnp.asarray(v) for k, v in problem.parameters(dtype).items()}
        self.inputs = jnp.asarray(problem.input_array(dtype).transpose(1, 0, 2))
        self.still = jnp.zeros((problem.steps, problem.trials, problem.n_state), dtype)
        self.states = jax.jit(self.trajectory)(self.weights, self.still)

    def product(self, name: str) -> Callable[[jax.Array], jax.Array]:
        previous = jnp.concatenate([jnp.zeros_like(self.states[:1]), self.states[:-1]])

        def one_step(theta: Weights) -> jax.Array:
            return _step(self.problem.cell, theta, self.driven(theta), previous)

        if name in ("P", "P*"):
            function, at = (lambda kicks: self.trajectory(self.weights, kicks)), self.still
        elif name == "K":
            function, at = one_step, self.weights
        else:
            function, at = (lambda theta: self.trajectory(theta, None)), self.weights
        push = jax.linearize(function, at)[1]
        pull = jax.vjp(function, at)[1]
        columns = {
            "P": push,
            "P*": lambda q: pull(q)[0],
            "K": lambda q: push(pull(q)[0]),
            "NTK": lambda q: push(pull(q)[0]),
        }[name]
        compiled = jax.jit(jax.vmap(columns))
        return lambda q: jax.block_until_ready(compiled(q))

    def driven(self, theta: Weights) -> jax.Array:
        bias = theta["bias_ih"]
        if self.problem.cell != "gru":
            bias = bias + theta["bias_hh"]
        return self.inputs @ theta["weight_ih"].T + bias

    def trajectory(self, theta: Weights, kicks: jax.Array | None) -> jax.Array:
        """Return the states from zero, ``(T, B, N)``, each kicked after its step."""

        def step(state: jax.Array, at_step: Any) -> tuple[jax.Array, jax.Array]:
            driven, kick = at_step
            state = _step(self.problem.cell, theta, driven, state)
            state = state if kick is None else state + kick
            return state, state

        start = jnp.zeros((self.problem.trials, self.problem.n_state), self.dtype)
        return lax.scan(step, start, (self.driven(theta), kicks))[1]

    def to_native(self, block: np.ndarray) -> jax.Array:
        return jnp.asarray(block.astype(self.dtype).transpose(3, 1, 0, 2))

    def to_numpy(self, native: jax.Array) -> np.ndarray:
        return np.asarray(native).transpose(2, 1, 3, 0)

    def training_step(self) -> Callable[[], dict[str, np.ndarray]]:
        readout = {k: jnp.asarray(v) for k, v in self.problem.readout(self.dtype).items()}
        targets = jnp.asarray(self.problem.targets(self.dtype).transpose(1, 0, 2))

        def loss(theta: Weights, weights: Weights) -> jax.Array:
            hidden = self.trajectory(theta, None)[..., : self.problem.units]
            outputs = hidden @ weights["weight"].T + weights["bias"]
            return jnp.mean((outputs - targets) ** 2)

        compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))

        def step() -> dict[str, np.ndarray]:
            _, (by_theta, by_readout) = jax.block_until_ready(compiled(self.weights, readout))
            found = {name: np.asarray(array) for name, array in by_theta.items()}
            return found | {f"readout {n}": np.asarray(a) for n, a in by_readout.items()}

        return step


def _step(cell: str, theta: Weights, driven: jax.Array, state: jax.Array) -> jax.Array:
    if cell == "vanilla-rnn":
        return jnp.tanh(driven + state @ theta["weight_hh"].T)
    if cell == "gru":
        recurrent = state @ theta["weight_hh"].T + theta["bias_hh"]
        drive_r, drive_z, drive_n = jnp.split(driven, 3, axis=-1)
        r, z, m = jnp.split(recurrent, 3, axis=-1)
        z = jax.nn.sigmoid(drive_z + z)
        n = jnp.tanh(drive_n + jax.nn.sigmoid(drive_r + r) * m)
        return n + z * (state - n)
    h, c = jnp.split(state, 2, axis=-1)
    i, f, g, o = jnp.split(driven + h @ theta["weight_hh"].T, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jnp.concatenate([jax.nn.sigmoid(o) * jnp.tanh(c), c], axis=-1)
