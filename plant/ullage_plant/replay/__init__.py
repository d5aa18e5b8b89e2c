"""Recorded histories served as if they happened now."""
