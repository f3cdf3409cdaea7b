"""The router: clients ask for an alias, a version of it answers, and every version is measured in the one place that sees it."""
