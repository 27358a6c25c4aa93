"""What combines several operators or checkpoints."""

from .validation import validate

__all__ = ["validate"]
