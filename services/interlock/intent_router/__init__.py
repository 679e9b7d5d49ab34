"""The intent-router: which intent a request has, and the way it therefore goes."""
