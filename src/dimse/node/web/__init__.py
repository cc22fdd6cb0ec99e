"""The page of a node, its JSON API, metrics and health, over HTTP in the event loop of the node."""
