"""What is known of a photograph's cracks, and the report of many: shared by the survey and the sidecar's inspections."""
