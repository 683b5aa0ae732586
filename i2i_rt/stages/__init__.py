"""Stages: the graphs that are exported, a file a family of systems.

Scaling, layout, one-hot coding and clamping are inside a stage, so that no client repeats them.
"""
