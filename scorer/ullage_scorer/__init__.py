"""The scorer: keeps the ledger; scores, rates and starts claims."""
