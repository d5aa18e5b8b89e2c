"""Field buses, read only: a client per protocol, one shape above them. No write exists in this room."""
