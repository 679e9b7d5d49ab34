"""The embedded, deterministic model: it quotes, fills slots, asks back, and calls nothing."""
