"""The HTTP surface: events in, apps in, the APIs for SDKs, users and the dashboard."""
