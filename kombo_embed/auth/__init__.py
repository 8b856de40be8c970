"""Who is asking: ways to find the signed-in end user of a request."""
