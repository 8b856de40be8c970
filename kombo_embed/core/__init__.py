"""What should happen: issuing links, completing flows, applying webhooks, reconciliation. No HTTP, no SQL."""
