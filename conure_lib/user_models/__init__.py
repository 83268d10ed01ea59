"""From a user's own tables to a continual user model, and from there to other systems.

A plan (``plan``) is trained (``train``), its model exported (``export``).
"""
