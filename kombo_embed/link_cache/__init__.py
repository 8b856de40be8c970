"""The cache of connection links, in memory and in Redis, and its invalidation."""
