"""What combines several operators or checkpoints."""
