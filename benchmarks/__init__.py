"""The benchmark suite: every figure measured side by side, with its spread and the machine it comes from."""
