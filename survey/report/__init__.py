"""A survey's report, as one HTML file and as PDF, from the same content: `python -m survey.report --help`."""
