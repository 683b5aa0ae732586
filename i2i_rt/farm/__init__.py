"""Many files translated by many processes, on one machine or a cluster: `i2i-rt farm`."""
