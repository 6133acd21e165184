"""What the runners of this folder share: where things are, random texts, and starting the program."""
import json
import os
import pathlib
import random
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PROGRAM = ROOT / ".build/release/pac-mpi"
RUNS = ROOT / "runs" / "paper-real"
TECHNIQUES = {
    "full": {"kind": "full"},
    "lora": {"kind": "lora", "rank": 32, "alpha": 32, "dropout": 0.1},
    "adapters": {"kind": "adapters", "reduction_factor": 12},
    "parallel-adapters": {"kind": "parallel_adapters", "reduction_factor": 8},
}


def generate():
    """Writes 48 rows of random letters: 128 source and 10 target tokens, and 320 to classify, of 128 tokens."""
    random.seed(0)
    folder = HERE / "generated"
    folder.mkdir(exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz "
    text = lambda count: "".join(random.choice(letters) for _ in range(count))
    with (folder / "train.jsonl").open("w") as file:
        for _ in range(48):
            file.write(json.dumps({"source": text(127), "target": text(9)}) + "\n")
    with (folder / "classes.jsonl").open("w") as file:
        for _ in range(320):
            words = [random.choice(letters[:26]) for _ in range(126)]
            file.write(json.dumps({"text": " ".join(words), "label": random.choice("xy")}) + "\n")


def launch(arguments, settings, ranks=1):
    """Runs the program, with one BLAS thread a rank.

    Returns its output, or raises what it complained about."""
    command = [PROGRAM, *arguments] + [part for setting in settings for part in ("--set", setting)]
    if ranks > 1:
        command = ["mpirun", "-q", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", str(ranks), *command]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    done = subprocess.run(command, cwd=ROOT, env=environment | {"OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def events(directory, kind, phase):
    """The events of one kind and phase that a run logged."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == kind and line["phase"] == phase]
