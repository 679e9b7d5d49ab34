"""Models behind one port. A swap is a change of the bundle, nothing else."""
