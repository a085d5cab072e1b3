"""Suites: which metrics run, with which settings and rules; one YAML file each, and what reads them."""
