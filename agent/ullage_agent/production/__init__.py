"""What the lines make: meters from scans to sealed intervals."""
