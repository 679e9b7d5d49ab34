"""Finding content of others that a prompt would print without a fence around it."""

from collections.abc import Iterator

from jinja2 import nodes

CONTENT = {"chunks": "text", "results": "output"}
"""What must be fenced: this attribute of the members of that list."""


def unfenced(template: nodes.Template) -> Iterator[tuple[int, str]]:
    """The line and the words of every place that prints content without the filter `fence`."""
    for loop in template.find_all(nodes.For):
        of = loop.iter.attr if isinstance(loop.iter, nodes.Getattr) else None
        if of not in CONTENT or not isinstance(loop.target, nodes.Name):
            continue
        for output in loop.find_all(nodes.Output):
            for child in output.iter_child_nodes():
                yield from _bare(child, loop.target.name, CONTENT[of])


def _bare(node: nodes.Node, name: str, attribute: str) -> Iterator[tuple[int, str]]:
    """Where `name.attribute` stands below `node` but not below a fence."""
    if isinstance(node, nodes.Filter) and node.name == "fence":
        return
    if (
        isinstance(node, nodes.Getattr)
        and node.attr == attribute
        and isinstance(node.node, nodes.Name)
        and node.node.name == name
    ):
        yield node.lineno, f"{name}.{attribute}"
    for child in node.iter_child_nodes():
        yield from _bare(child, name, attribute)
