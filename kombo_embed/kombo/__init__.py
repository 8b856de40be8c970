"""Kombo's words: its paths, bodies, codes and signatures, and the one client that speaks them."""
