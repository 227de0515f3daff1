"""Networks: configuration, construction, weights, and where they are found."""
