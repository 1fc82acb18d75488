"""A file with topics of the user's own, for tests."""

from __future__ import annotations

from pathlib import Path

ODOMETRY = """
  - name: odometry
    key: lab/odometry
    about: where the robot believes it is
    fields: {x_m: float, heading_rad: float, covariance: "list[float]"}
    from: [body]
    to: [region, client]
    delivery: best_effort
"""
POSE = """
  - name: pose
    key: lab/pose
    about: where the robot is, in a frame
    fields: {frame: str}
    reply_fields: {text: str}
    from: [client, region]
    to: [body]
    delivery: reliable
"""


def write_topics(path: Path, *topics: str) -> Path:
    """Write a file of topics; by default of the two above."""
    path.write_text("version: 1\ntopics:\n" + "".join(topics or (ODOMETRY, POSE)))
    return path
