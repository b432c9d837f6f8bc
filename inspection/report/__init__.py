"""The report of many photographs, as one HTML file and as PDF, from the same content."""
