"""The awaited face: the source of both (see `pgflow_mp.client`)."""
