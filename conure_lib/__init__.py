"""Conure: one user model learns one task after another and forgets nothing.

A thin library behind the notebooks of the study. Data flows one way through its modules: paths, config,
data, model, ownership, losses, evaluate, train, methods, experiment, stats, report, bench, cli.

Shapes are in brackets: B sequences of a batch, L items of a sequence, k the width (channels, and the length of a
user vector), n labels or instances, N summands of a loss, U users, S sequences. T1 ... T6 are tasks in the order
of learning; "section", "Eq.", "Table" and "Fig." are the paper's (doi:10.1145/3404835.3462884). Mistakes in what
is asked for raise ConfigError (settings) or DataError (data), both ValueErrors that name the field and the mend.
"""

__version__ = "0.2.0.dev0"
