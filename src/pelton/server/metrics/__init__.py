"""The metrics page for Prometheus: what is measured (`catalogue`), where the values are (`readings`), and the page (`page`)."""
