"""From the broker to the ledger: admit, quarantine, receipts."""
