"""Stochastic estimators of traces, a file each, named by their papers."""
