"""Surveys folders of photographs: finds cracks with a running sidecar or locally, measures them, and writes tables and
pictures.
"""
