"""The results for a photograph, and the report on many: shared by the survey and the sidecar's inspections."""
