"""Numba kernels: loops over arrays, without checks and without allocation of results.

Array names follow :mod:`kpflow_numerics.cells.sites`: ``gains (B, T, G, S, H)``,
``carry (B, T, S, S, H)``, ``inner (B, T, H)``, blocks ``(B, T, S, H, k)``.
"""
