"""Running again what happened: stages over recorded events, without a broker and without tools."""
