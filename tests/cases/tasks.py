"""The tasks on which every law of tasks is tested, and the checks that those laws share."""

from __future__ import annotations

import numpy as np

from kpflow_numerics.tasks import (
    Characters,
    DelayAnti,
    DelayAntiOneHot,
    DelayPro,
    DelayProOneHot,
    FlipFlop,
    LowRankForecast,
    MemoryAnti,
    MemoryAntiOneHot,
    MemoryPro,
    MemoryProOneHot,
    MultiTask,
)

# Sizes that all differ, so that an axis taken for another shows.
_SHORT = {"n_stimulus": 4, "n_memory": 6, "n_response": 3}

TASK_CASES = {
    "memory-pro": MemoryPro(),
    "memory-pro short": MemoryPro(**_SHORT),
    "memory-pro without memory": MemoryPro(n_stimulus=2, n_memory=0, n_response=1),
    "memory-anti": MemoryAnti(**_SHORT, noise_std=0.5),
    "delay-pro": DelayPro(**_SHORT),
    "delay-anti": DelayAnti(**_SHORT),
    "memory-pro-one-hot": MemoryProOneHot(),
    "memory-pro-one-hot short": MemoryProOneHot(**_SHORT, n_buckets=7),
    "memory-anti-one-hot": MemoryAntiOneHot(**_SHORT, n_buckets=8),
    "delay-pro-one-hot": DelayProOneHot(**_SHORT, n_buckets=5),
    "delay-anti-one-hot": DelayAntiOneHot(**_SHORT, n_buckets=5),
    "multi-task": MultiTask(),
    "multi-task short": MultiTask(**_SHORT, n_context=2),
    "flip-flop": FlipFlop(),
    "flip-flop short": FlipFlop(n_bits=2, n_steps=13, mean_interval=3.5),
    "low-rank-forecast": LowRankForecast(),
    "low-rank-forecast short": LowRankForecast(
        n_latent=3, n_observed=8, n_embedded_inputs=6, n_embedded_outputs=5, n_steps=11, gain=2.0
    ),
    "characters": Characters(noise_std=0.2),
    "characters short": Characters("to be, or not to be? " * 7, n_steps=9, noise_std=0.3),
}


def assert_batches_equal(left, right):
    """Fail unless two batches agree in every bit."""
    for name in ("inputs", "targets", "mask", "task_ids"):
        a, b = getattr(left, name), getattr(right, name)
        assert a.dtype == b.dtype, name
        assert a.shape == b.shape, name
        assert a.tobytes() == b.tobytes(), name
    assert left.task_names == right.task_names
    assert left.loss_name == right.loss_name
    assert list(left.conditions) == list(right.conditions)
    for name, column in left.conditions.items():
        assert column.tobytes() == right.conditions[name].tobytes(), name


def assert_white_noise(noise, std):
    """Fail unless (B, T, I) values look like independent normal numbers of deviation `std`.

    Every mean, variance, fourth moment and correlation of neighbours along each axis must lie
    within five of its own standard deviations.
    """
    z = noise / std
    n = z.size
    assert abs(z.mean()) < 5 / n**0.5, "mean"
    assert abs((z**2).mean() - 1) < 5 * (2 / n) ** 0.5, "variance"
    assert abs((z**4).mean() - 3) < 5 * (96 / n) ** 0.5, "fourth moment"
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        count = n / z.shape[axis]
        deviations = (z**2).mean(axis=others) - 1
        assert np.abs(deviations).max() < 5 * (2 / count) ** 0.5, f"variance along axis {axis}"
        if z.shape[axis] > 1:
            first = np.take(z, range(z.shape[axis] - 1), axis=axis)
            second = np.take(z, range(1, z.shape[axis]), axis=axis)
            correlation = (first * second).mean()
            assert abs(correlation) < 5 / first.size**0.5, f"correlation along axis {axis}"


def assert_equally_spaced(angles):
    """Fail unless the angles are ``2 pi j / B`` in this order."""
    expected = np.array([2 * np.pi * j / len(angles) for j in range(len(angles))])
    np.testing.assert_allclose(
        angles, expected, rtol=0, atol=4 * np.finfo(np.float64).eps * 2 * np.pi
    )
