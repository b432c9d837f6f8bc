"""The web page: inspect, correct and review photographs, over HTTP to the sidecar."""
