#!/usr/bin/env python3
"""Generates the home-assistant data set: train.jsonl and validation.jsonl beside this file.

    generate.py            write both files
    generate.py --check    fail unless the files beside it are byte for byte what would be written

Every intent is a file in phrasings/: hand-written sentences, which are kept as they are, and templates, whose fills
make up the rest. Nothing is drawn from a random generator: choices follow the order of SHA-256 digests, so the output
is the same under every version of Python.
"""

import hashlib
import itertools
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
SEED = "home-assistant/1"
ROWS = {"training": 80, "validation": 20}  # of each intent
FILES = {"training": "train.jsonl", "validation": "validation.jsonl"}
LEAST = {"training templates": 12, "training sentences": 8, "validation templates": 3, "validation sentences": 14}
QUESTION = re.compile(
    r"(what|what's|which|who|when|where|how|is|are|am|do|does|did|has|have|was|were|will|can|could|should|would|any)\b",
    re.IGNORECASE)


class PhrasingError(Exception):
    """Something in phrasings/ that the data set cannot be made from."""


def digest(*parts):
    """Returns a number in [0, 1) that depends on nothing but the seed and the parts."""
    text = "\0".join((SEED, *map(str, parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def normalized(text):
    """Returns the words of a text, without case and punctuation: two texts with equal words count as the same."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower().replace("'", "")))


def read_slots(lines):
    """Reads lines of the form `name = value | value`."""
    slots = {}
    for place, line in lines:
        name, equals, values = line.partition(" = ")
        if not equals:
            raise PhrasingError(f"{place}: expected `name = value | value`, found `{line}`")
        slots[name] = [value.strip() for value in values.split("|")]
    return slots


def read_sections(path):
    """Reads a phrasings file as a dictionary from section title to its (place, line) pairs."""
    sections = {"": []}
    title = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            title = line[1:-1]
            sections[title] = []
        elif line and not line.startswith("#"):
            sections[title].append((f"{path.relative_to(HERE)}:{number}", line))
    return sections


def fills(place, template, slots):
    """Yields every fill of a template: `{name}` is a slot, `(a|b|)` is a choice, possibly of nothing."""
    choice = re.search(r"\(([^()]*)\)", template)
    if choice:
        for option in choice.group(1).split("|"):
            yield from fills(place, template[:choice.start()] + option + template[choice.end():], slots)
        return
    names = re.findall(r"\{(\w+)\}", template)
    for name in names:
        if name not in slots:
            raise PhrasingError(f"{place}: expected one of the slots {', '.join(sorted(slots))}, found {{{name}}}")
    pieces = re.split(r"\{\w+\}", template)
    for values in itertools.product(*(slots[name] for name in names)):
        if len(set(values)) < len(values):
            continue  # "from noon to noon"
        text = pieces[0] + "".join(value + piece for value, piece in zip(values, pieces[1:]))
        if "{" in text:
            yield from fills(place, text, slots)
        else:
            yield re.sub(r"\s+", " ", text).strip().replace(" ,", ",")


def mistyped(text):
    """Swaps two inner letters of one of the longer words."""
    words = [match for match in re.finditer(r"[A-Za-z]{5,}", text)]
    if not words:
        return text
    word = words[int(digest("word", text) * len(words))]
    at = word.start() + 1 + int(digest("letter", text) * (len(word.group()) - 3))
    return text[:at] + text[at + 1] + text[at] + text[at + 2:]


def spoken(text):
    """Gives a template's fill the look of something typed or transcribed: marks or none, a courtesy, a slip."""
    question = QUESTION.match(text) is not None
    courtesy = digest("courtesy", text)
    if courtesy < 0.08 and not question and "please" not in text:
        text += ", thanks" if courtesy < 0.03 else " please"
    elif courtesy > 0.92:
        text = ("hey, " if courtesy < 0.96 else "ok, ") + text
    if digest("slip", text) < 0.08:
        text = mistyped(text)
    look = digest("look", text)
    if look < 0.45:
        return text[0].upper() + text[1:] + ("?" if question else ".")
    if look < 0.7:
        return text
    return re.sub(r"[^\w\s:%']", "", text.lower())


def filled(templates, slots, count):
    """Takes `count` different fills, as many of each template as there are."""
    queues = []
    for place, template in templates:
        different = {normalized(text): text for text in fills(place, template, slots)}
        queues.append(sorted(different.values(), key=lambda text: digest("fill", text)))
    turns = (queue[turn] for turn in range(count) for queue in queues if turn < len(queue))
    return list(itertools.islice(turns, count))


def generate():
    """Returns the rows of each split as (text, label) pairs, having checked what the README promises of them."""
    common = read_slots(read_sections(HERE / "phrasings" / "slots.txt")[""])
    rows = {split: [] for split in ROWS}
    unstyled = []
    trained = {}  # the words of everything that training templates can say, to the template that says it
    for path in sorted((HERE / "phrasings").glob("*.txt")):
        if path.name == "slots.txt":
            continue
        sections = read_sections(path)
        slots = {**common, **read_slots(sections.get("slots", []))}
        for title, least in LEAST.items():
            if len(sections.get(title, [])) < least:
                raise PhrasingError(f"{path.relative_to(HERE)}: [{title}]: expected at least {least} lines, "
                                    f"found {len(sections.get(title, []))}")
        for place, template in sections["training templates"]:
            trained.update((normalized(text), place) for text in fills(place, template, slots))
        for split, count in ROWS.items():
            sentences = [text for _, text in sections[f"{split} sentences"]]
            templates = sections[f"{split} templates"]
            from_templates = filled(templates, slots, count - len(sentences))
            texts = sentences + [spoken(text) for text in from_templates]
            if len(texts) != count:
                raise PhrasingError(f"{path.relative_to(HERE)}: expected {count} {split} rows, found {len(texts)}")
            rows[split] += [(text, path.stem) for text in texts]
            if split == "validation":
                unstyled += from_templates

    seen = {}
    for text, label in itertools.chain(*rows.values()):
        if normalized(text) in seen:
            raise PhrasingError(f"`{text}` appears twice: {seen[normalized(text)]} and {label}")
        seen[normalized(text)] = label
    for text in [text for text, _ in rows["validation"]] + unstyled:
        if normalized(text) in trained:
            raise PhrasingError(f"validation row `{text}` is a fill of {trained[normalized(text)]}")
    for split in rows:
        rows[split].sort(key=lambda row: digest("order", *row))
    return rows


def main(arguments):
    if arguments not in ([], ["--check"]):
        sys.exit("usage: generate.py [--check]")
    try:
        rows = generate()
    except PhrasingError as error:
        sys.exit(f"generate.py: {error}")
    for split, name in FILES.items():
        lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows[split]]
        content = ("\n".join(lines) + "\n").encode()
        path = HERE / name
        if not arguments:
            path.write_bytes(content)
        elif not path.is_file() or path.read_bytes() != content:
            sys.exit(f"generate.py: {name} is not what the phrasings give: run generate.py and commit the result")
        print(f"{name}: {len(lines)} rows, {len({label for _, label in rows[split]})} intents")


main(sys.argv[1:])
