"""Enhancement inside calls: adapters for LiveKit Agents, Pipecat and aiortc, thin over one live stream."""
