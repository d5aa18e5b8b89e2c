"""The append-only ledger: envelopes and commands in one hash-chained order."""
