"""How large a configuration file may be once it is read: a page of YAML can stand for more than a machine's memory."""

import yaml

MAX_CHARACTERS = 1 << 18
MAX_NODES = 100_000
MAX_DEPTH = 50


def yaml_problem(text: str) -> str | None:
    """What is too large in a YAML text, None when nothing is; it costs time and memory in proportion to the text.

    An alias counts as often as it is used, since readers may copy what it stands for.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    if len(text) > MAX_CHARACTERS:
        return f"{len(text)} characters, expected at most {MAX_CHARACTERS}"
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        return f"nested deeper than {MAX_DEPTH} levels"
    if root is None:
        return None
    sizes: dict[int, int] = {}
    depths: dict[int, int] = {}
    for node in _children_first(root):
        children = _children(node)
        if any(id(child) not in sizes for child in children):
            return "an alias inside of what it stands for"
        sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
        depths[id(node)] = 1 + max((depths[id(child)] for child in children), default=0)
    if depths[id(root)] > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels"
    if sizes[id(root)] > MAX_NODES:
        return f"more than {MAX_NODES} values once its aliases (*name) are filled in"
    return None


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _children_first(root: yaml.Node) -> list[yaml.Node]:
    found, seen, stack = [], set(), [(root, False)]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            found.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(child, False) for child in _children(node)]
    return found
