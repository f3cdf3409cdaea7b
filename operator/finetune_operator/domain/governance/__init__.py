"""What governance makes of a FineTuneJob: facts from what is observed, the contract's decision about them, and what that holds up."""
