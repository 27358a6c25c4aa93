"""Whole recipes: train, analyse, validate, report."""
