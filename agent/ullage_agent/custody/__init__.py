"""What is said is sealed, kept on disk, and sent until a receipt covers it."""
