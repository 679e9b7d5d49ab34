"""Reading documents: files in, text with Markdown headings out.

PDF, DOCX and HTML want the extra `interlock[ingest]`; each library is imported when a file needs
it. Whatever a file holds, reading it either gives documents or raises `Unreadable`.
"""

from interlock.sdk.formats.about import About, Parsed, Unreadable, about
from interlock.sdk.formats.files import MAX_FILE_BYTES, SUFFIXES, read_file

__all__ = ["MAX_FILE_BYTES", "SUFFIXES", "About", "Parsed", "Unreadable", "about", "read_file"]
