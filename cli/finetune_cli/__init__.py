"""``finetune``: the command for people: auditors, data stewards, and whoever is about to submit a job."""
