#!/usr/bin/env python3
"""Converts CLINC150's data_full.json to JSONL, in-scope rows only: train.jsonl, val.jsonl and test.jsonl.

    convert.py [INPUT] [OUTPUT_DIRECTORY]

INPUT is data/clinc150/data_full.json, and OUTPUT_DIRECTORY is generated/ beside this file, unless named.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
EXPECTED = {"train": 15000, "val": 3000, "test": 4500}  # rows: 150 intents with 100, 20 and 30 each


def rows(data, split):
    """Returns the rows of a split, having checked that each is a text with its intent."""
    if not isinstance(data, dict) or not isinstance(data.get(split), list):
        raise ValueError(f"{split}: expected a list of [text, intent] pairs")
    for index, row in enumerate(data[split]):
        if not (isinstance(row, list) and len(row) == 2 and all(isinstance(part, str) and part for part in row)):
            raise ValueError(f"{split}[{index}]: expected [text, intent], found {json.dumps(row)}")
    intents = {intent for _, intent in data[split]}
    if len(data[split]) != EXPECTED[split] or len(intents) != 150:
        raise ValueError(f"{split}: expected {EXPECTED[split]} rows of 150 intents, "
                         f"found {len(data[split])} rows of {len(intents)}")
    return data[split]


def main(arguments):
    if len(arguments) > 2 or any(argument.startswith("-") for argument in arguments):
        sys.exit("usage: convert.py [INPUT] [OUTPUT_DIRECTORY]")
    source = pathlib.Path(arguments[0] if arguments else HERE.parents[1] / "data" / "clinc150" / "data_full.json")
    target = pathlib.Path(arguments[1] if len(arguments) > 1 else HERE / "generated")
    try:
        data = json.loads(source.read_text(encoding="utf-8"))
        splits = {split: rows(data, split) for split in EXPECTED}
        target.mkdir(parents=True, exist_ok=True)
        for split, pairs in splits.items():
            path = target / f"{split}.jsonl"
            with path.open("w", encoding="utf-8") as file:
                for text, intent in pairs:
                    file.write(json.dumps({"text": text, "label": intent}, ensure_ascii=False) + "\n")
            print(f"{path}: {len(pairs)} rows")
    except OSError as error:
        sys.exit(f"convert.py: {error}")
    except ValueError as error:  # JSON and UTF-8 errors are ValueErrors as well
        sys.exit(f"convert.py: {source}: {error}")


main(sys.argv[1:])
