"""WHICH sample comes next."""
