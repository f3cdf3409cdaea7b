"""From whatever a person calls a dataset to sealed, tokenised rows and a report on them."""
