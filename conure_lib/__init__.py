"""Conure: one user model learns one task after another and forgets nothing.

Folders show the flow, and each imports only from those before it: data, models, training, methods,
pipeline, study, analysis, figures, user_models, cli. Shapes are in brackets: B sequences of a
batch, L items of a sequence, k channels and the length of a user vector, n labels or instances, U
users. T1 ... T6 are tasks in the order in which they are learned.
"""

__version__ = "0.2.0"
