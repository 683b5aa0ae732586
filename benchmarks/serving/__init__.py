"""How fast a served bundle answers, what serving costs, and what happens when it is asked for too much."""
