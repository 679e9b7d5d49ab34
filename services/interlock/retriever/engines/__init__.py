"""Where passages are kept and scored: the port, and every engine behind it."""
