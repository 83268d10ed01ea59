"""Losses, samplers and batches, the training loop, exact evaluation, determinism.

``loop.fit`` trains every method and stage; ``evaluation`` ranks over the whole catalogue.
"""
