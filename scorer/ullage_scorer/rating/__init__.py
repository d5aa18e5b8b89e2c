"""Risk scores and premiums, projected from the ledger."""
