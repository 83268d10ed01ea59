"""Runs, experiments, profiles, the search for hyper-parameters, notebooks."""
