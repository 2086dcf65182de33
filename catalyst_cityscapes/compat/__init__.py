"""Configs of others that this project's command line runs."""
