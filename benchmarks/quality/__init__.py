"""Quality of trained models on held-out speech and songs, beside other people's systems: `edge-eval`."""
