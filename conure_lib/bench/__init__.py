"""Speed, memory and growth of the library: against references of our own, over sizes, between two commits.

``parts`` lists what is measured; ``run`` measures it against the references in ``plain``, ``scale`` over many
sizes, ``compare`` against another commit. ``once`` and ``point`` are the programs that the latter two start.
"""
