"""API keys, login links and sessions."""
