"""All networks of the benchmark."""

from __future__ import annotations

from benchmarks.trained import faces, lettering, pictures, points, sounds, texts, transcripts
from benchmarks.trained.network import Networks

NETWORKS: Networks = {
    **pictures.NETWORKS,
    **faces.NETWORKS,
    **sounds.NETWORKS,
    **lettering.NETWORKS,
    **points.NETWORKS,
    **texts.NETWORKS,
    **transcripts.NETWORKS,
}
