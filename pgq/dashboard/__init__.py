"""The dashboard: a web application that reads the views, and steers through the same functions as everybody else.

One poller reads for all browsers, only while one watches, and each browser is told by server-sent events. Pages are
rendered on the server; what moves in them is filled in by modules of plain JavaScript in `static`. Nothing is built,
nothing is fetched from elsewhere.
"""
