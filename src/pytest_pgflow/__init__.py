"""The pytest plugin of pgflow-mp."""
