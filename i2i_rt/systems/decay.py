"""How the learning rate falls: what it is multiplied with in the n-th of the epochs in which it does, from 1."""


def linear(epoch: int, epochs: int) -> float:
    """Falls in equal steps of `1 / (epochs + 1)`, never below zero."""
    return max(1 - epoch / (epochs + 1), 0.0)


def halving(epoch: int, epochs: int) -> float:
    """Is half of what it was the epoch before."""
    return 0.5**epoch
