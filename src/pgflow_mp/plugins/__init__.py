"""Plugins that come with pgflow-mp; none is loaded unless it is asked for by name (docs/plugins.md).

Each is also an example of how to write one: it uses nothing but the hooks.
"""
