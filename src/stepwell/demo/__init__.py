"""A built-in app with a gentle stream of events, so that each page of the dashboard has something to show.

``stepwell dev --demo``, or the dashboard, runs it as a process of its own (``python -m stepwell.demo``). It needs what the
server needs, and ends with it.
"""
