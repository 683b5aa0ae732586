"""Quality of results: measures that compare images and videos."""
