"""The models of the repository, as the server's Python processes run them."""
