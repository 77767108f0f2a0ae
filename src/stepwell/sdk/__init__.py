"""The SDK: what users' apps import. It knows the protocol and nothing of the server, its engine or its store."""
