"""The structured products of P, P*, K and the NTK written in JAX, compiled, one scan a propagation.

Blocks are laid out as in ``pytorch_by_hand``: a tuple of parts, each ``(T, B, k, H)``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .contract import Problem
from .local_derivatives import LocalDerivatives, local_derivatives

jax.config.update("jax_enable_x64", True)

Block = tuple[jax.Array, ...]
jax.tree_util.register_dataclass(
    LocalDerivatives,
    data_fields=["features", "gains", "carries", "weight"],
    meta_fields=["n_recurrent", "n_parts"],
)


class Peer:
    def __init__(self, problem: Problem, dtype: str) -> None:
        local = local_derivatives(problem, dtype)
        self.dtype = dtype
        self.local = jax.tree_util.tree_map(jnp.asarray, dataclasses.replace(local))

    def product(self, name: str) -> Callable[[Block], Block]:
        functions = {"P": propagate, "P*": propagate_adjoint, "K": gram, "NTK": tangent_kernel}
        compiled = jax.jit(functions[name])
        return lambda q: jax.block_until_ready(compiled(self.local, q))

    def to_native(self, block: np.ndarray) -> Block:
        block = block.astype(self.dtype).transpose(1, 0, 3, 2)
        return tuple(jnp.asarray(part) for part in np.split(block, self.local.n_parts, axis=-1))

    def to_numpy(self, native: Block) -> np.ndarray:
        return np.concatenate([np.asarray(part) for part in native], axis=-1).transpose(1, 0, 3, 2)

    def training_step(self) -> Callable[[], dict[str, np.ndarray]]:
        raise NotImplementedError("Training is measured through automatic differentiation.")


def propagate(local: LocalDerivatives, q: Block) -> Block:
    _, n_trials, k, units = q[0].shape

    def step(v: Block, at_step: Any) -> tuple[Block, Block]:
        q_t, gains, carries = at_step
        gates = (v[0].reshape(-1, units) @ local.weight.T).reshape(
            n_trials, k, local.n_recurrent, units
        )
        out = list(q_t)
        for g, of_site in enumerate(gains):
            for part, gain in of_site.items():
                out[part] += gain[:, None] * gates[:, :, g]
        for (to, source), carry in carries.items():
            out[to] += carry[:, None] * v[source]
        return tuple(out), tuple(out)

    start = tuple(jnp.zeros_like(part[0]) for part in q)
    return lax.scan(step, start, (q, local.gains[: local.n_recurrent], local.carries))[1]


def propagate_adjoint(local: LocalDerivatives, q: Block) -> Block:
    units = q[0].shape[-1]

    def step(pulled: Block, at_step: Any) -> tuple[Block, Block]:
        q_t, gains, carries = at_step
        a = tuple(own + later for own, later in zip(q_t, pulled, strict=True))
        gates = [
            sum(gain[:, None] * a[part] for part, gain in of_site.items()) for of_site in gains
        ]
        rows = jnp.stack(gates, axis=2).reshape(-1, len(gates) * units)
        back = [(rows @ local.weight).reshape(q_t[0].shape)]
        back += [jnp.zeros_like(part) for part in q_t[1:]]
        for (to, source), carry in carries.items():
            back[source] += carry[:, None] * a[to]
        return tuple(back), a

    start = tuple(jnp.zeros_like(part[0]) for part in q)
    series = (q, local.gains[: local.n_recurrent], local.carries)
    return lax.scan(step, start, series, reverse=True)[1]


def gram(local: LocalDerivatives, q: Block) -> Block:
    out = [jnp.zeros_like(part) for part in q]
    for features, gains in zip(local.features, local.gains, strict=True):
        driven = sum(gain[:, :, None] * q[part] for part, gain in gains.items())
        X = features.reshape(-1, features.shape[-1])
        driven = (X @ (X.T @ driven.reshape(len(X), -1))).reshape(q[0].shape)
        for part, gain in gains.items():
            out[part] += gain[:, :, None] * driven
    return tuple(out)


def tangent_kernel(local: LocalDerivatives, q: Block) -> Block:
    return propagate(local, gram(local, propagate_adjoint(local, q)))
