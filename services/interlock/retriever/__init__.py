"""The retriever: finds what an answer may rest on, and records how."""
