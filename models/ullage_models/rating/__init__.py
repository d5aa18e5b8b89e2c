"""Dated rating plans, the premium they give, the risk score and the relativity of telemetry. Pure and exact."""
