"""Speed, memory and growth of the library: against references of our own, over sizes, between two commits.

``parts`` lists what is measured; ``run`` measures it against the references in ``plain``, ``study`` what the
reported profile costs, ``inference`` what serving one task costs, ``scale`` growth over many sizes, ``compare``
a change against another commit. ``once`` and ``point`` are the programs that the latter two start.
"""
