"""What embeds and reranks."""
