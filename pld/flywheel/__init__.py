"""The flywheel: stages of Probe, Learn, Distill composed into one resumable run."""
