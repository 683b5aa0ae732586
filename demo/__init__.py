"""The demo: a small FastCUT model that turns photographs into pencil sketches, and what `make demo` does with it."""
