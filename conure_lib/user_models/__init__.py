"""From a user's own tables to a continual user model, and from there to other systems.

A plan says which table is which task (``plan``), a run trains what is not trained yet (``train``), and a saved model
(``saved``) gives the plain model of one task or a vector per user (``export``). May import everything but ``cli``.
"""
