"""Outages and business-interruption claims, projected from the ledger."""
