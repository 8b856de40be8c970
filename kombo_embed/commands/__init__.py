"""The commands for support: what is on record, which hooks wait, and what Kombo says of it all now."""
