"""Builders of the objects a FineTuneJob owns: values in, manifest out, one file per kind."""
