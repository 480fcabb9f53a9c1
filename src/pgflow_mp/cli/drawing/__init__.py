"""Pictures of flows: what is drawn (`picture`), where it stands (`layout`), how it is written (`svg`, `mermaid`)."""
