"""From words and vectors to one order of passages."""
