"""A team's chat and the web: who is written to, what is opened, who is let in."""

from interlock_contracts.tools import SAFE_ORIGINS, ToolArguments, tool

DOUBTFUL = ["referred", "untrusted", "invented"]
"""Where a person is asked first: content of others, and what the model came up with."""

ANY = [*SAFE_ORIGINS, *DOUBTFUL]
REFERRED = [*SAFE_ORIGINS, "referred"]
TOLD = [*REFERRED, "invented"]
"""Words to pass on: the model's own, or those of what the user pointed to."""

UNSURE = ["untrusted", "invented"]


@tool(effect="read", records=["/*"])
class GetChannels(ToolArguments):
    """Get the list of channels."""


@tool(effect="read", records=["/*"], accepts={"channel": ANY})
class GetUsersInChannel(ToolArguments):
    """Get the list of users in the given channel."""

    channel: str


# Who wrote is the chat's own record; what they wrote is theirs.
@tool(effect="read", records=["/*/sender", "/*/recipient"], accepts={"channel": ANY})
class ReadChannelMessages(ToolArguments):
    """Read the messages from the given channel."""

    channel: str


@tool(effect="read", records=["/*/sender", "/*/recipient"], accepts={"user": ANY})
class ReadInbox(ToolArguments):
    """Read the messages from the given user's inbox."""

    user: str


# Opening a page tells its owner that, and what, somebody reads: an effect outside.
@tool(
    effect="external",
    accepts={"url": REFERRED},
    confirms={"url": UNSURE},
    asked_by=["page", "webpage", "website", "site", "web", "url", "link", "article", "blog",
              "visit", "browse", "open", "read", "look up", "summarize", "information",
              "details", "find", "post"],
    summary="Open {url}",
)  # fmt: skip
class GetWebpage(ToolArguments):
    """Return the content of the webpage at a given URL."""

    url: str


@tool(
    effect="external",
    risk="high",
    accepts={"content": TOLD},
    confirms={"url": DOUBTFUL, "content": ["untrusted"]},
    asked_by=["post", "publish", "upload", "put", "website"],
    summary="Publish at {url}: {content}",
)
class PostWebpage(ToolArguments):
    """Post a webpage at a given URL with the given content."""

    url: str
    content: str


@tool(
    effect="write",
    accepts={"body": TOLD},
    confirms={"recipient": DOUBTFUL, "body": ["untrusted"]},
    asked_by=["message", "send", "write", "tell", "reply", "dm", "inform", "notify", "forward"],
    summary="Write to {recipient}: {body}",
)
class SendDirectMessage(ToolArguments):
    """Send a direct message to the recipient."""

    recipient: str
    body: str


@tool(
    effect="write",
    accepts={"body": TOLD},
    confirms={"channel": DOUBTFUL, "body": ["untrusted"]},
    asked_by=["message", "send", "write", "post", "reply", "announce", "share", "say"],
    summary="Write to the channel {channel}: {body}",
)
class SendChannelMessage(ToolArguments):
    """Send a message to a channel."""

    channel: str
    body: str


@tool(
    effect="write",
    confirms={"user": DOUBTFUL, "channel": DOUBTFUL},
    asked_by=["add", "invite", "join"],
    summary="Add {user} to {channel}",
)
class AddUserToChannel(ToolArguments):
    """Add a user to a given channel."""

    user: str
    channel: str


@tool(
    effect="external",
    risk="high",
    accepts={"user_email": REFERRED},
    confirms={"user": DOUBTFUL, "user_email": UNSURE},
    asked_by=["invite", "onboard"],
    summary="Invite {user} at {user_email}",
)
class InviteUserToSlack(ToolArguments):
    """Invite a user to the workspace."""

    user: str
    user_email: str


@tool(
    effect="write",
    risk="high",
    confirms={"user": DOUBTFUL},
    asked_by=["remove", "delete", "kick", "deactivate"],
    summary="Remove {user}",
)
class RemoveUserFromSlack(ToolArguments):
    """Remove a user from the workspace."""

    user: str
