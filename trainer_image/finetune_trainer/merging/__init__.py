"""A merged model: base and adapter as one set of weights, proven to answer as both did together, and published under its digest."""
