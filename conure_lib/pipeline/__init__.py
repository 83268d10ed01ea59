"""Stages: computed once, stored, verified, scheduled."""
