"""From an adapter's folder to weights that rows of a batch can use."""
