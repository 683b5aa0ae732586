"""Compares our networks with what the official implementations gave; `harness` runs a case, the rest answer it."""
