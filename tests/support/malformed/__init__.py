"""Malformed inputs, by what is wrong with them."""
