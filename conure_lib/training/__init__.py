"""Losses, batches, the training loop, exact evaluation."""
