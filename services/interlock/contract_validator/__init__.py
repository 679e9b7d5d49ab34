"""The gate: decides, from outside the model, what of a proposal may happen."""
