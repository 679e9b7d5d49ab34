"""The scenes, in their order."""

from interlock.cli.demo.actions import once, reviewed
from interlock.cli.demo.records import audited, replayed
from interlock.cli.demo.scene import Script
from interlock.cli.demo.words import cited, stopped
from interlock.cli.demo.world import World

SCRIPTS: tuple[Script[World], ...] = (
    Script("cited", "A cited answer", cited),
    Script("once", "A refund, submitted three times, its executor killed midway", once),
    Script("reviewed", "A refund over the limit waits for a person", reviewed),
    Script("stopped", "What a model must not do", stopped),
    Script("replayed", "The refund of scene 3, replayed", replayed),
    Script("audited", "The audit log, verified", audited),
)
