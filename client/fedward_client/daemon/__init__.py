"""The site's Flower app and the handlers of its messages."""
