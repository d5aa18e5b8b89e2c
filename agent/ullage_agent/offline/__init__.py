"""Recorded histories: learning from them, and running the detection over them."""
