"""What stands in front of the server: public ports, limits, keys, honest health, refusals while it restarts."""
