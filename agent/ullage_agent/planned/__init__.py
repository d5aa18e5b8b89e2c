"""Planned stops: declared by a command, sealed by the running agent."""
