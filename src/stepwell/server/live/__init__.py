"""What changes, told to pages that are open: ``changes.py`` what a page hears, ``hub.py`` who hears it and when."""
