"""From a user's own tables to a continual user model, and from there to other systems.

A plan says which table is which task (``plan``), a run trains what is not trained yet (``train``),
a saved model gives one task's plain model or vectors of users (``export``). May import all but
``cli``.
"""
