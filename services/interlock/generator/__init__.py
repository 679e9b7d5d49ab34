"""The generator: asks a model for a proposal. It may propose and nothing else."""
