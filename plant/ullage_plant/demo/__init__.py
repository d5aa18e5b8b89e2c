"""The demo: drives the whole thread through commands, field protocols and HTTP, as a user would."""
