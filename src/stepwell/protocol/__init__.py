"""The wire protocol, shared by SDK and server so that both sides cannot disagree. No I/O."""
