"""Sites with random images, for benchmarks of everything but learning."""

import csv
from pathlib import Path

import numpy as np


def make_sites(folder: Path, num_sites: int, *, patients: int = 40, size: int = 16) -> Path:
    """Write one .npz and manifest a site, and a cohorts file; give its path."""
    generator = np.random.default_rng(0)
    tables = []
    for number in range(num_sites):
        name = f"site{number:03d}"
        images = generator.integers(0, 256, (patients, size, size), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", images=images)
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "label", "split"])
            for index in range(patients):
                split = ("train", "train", "validation", "test")[index % 4]
                writer.writerow([f"images[{index}]", (index // 4) % 2, split])
        tables.append(
            f'[sites.{name}]\nsource = "arrays"\npath = "{name}.npz"\n'
            f'manifest = "{name}.csv"\nunit = "image"\n'
        )
    cohorts = folder / "cohorts.toml"
    cohorts.write_text("\n".join(tables))
    return cohorts


def write_job(folder: Path, *, rounds: int, width: int, size: int = 16) -> Path:
    """Write a job for those sites: one small step a round, evaluated at the end only."""
    job = folder / "job.toml"
    job.write_text(
        f"""
[job]
name = "Benchmark"
rounds = {rounds}
[task]
kind = "classification"
classes = [{{ id = 0, name = "0" }}, {{ id = 1, name = "1" }}]
[model]
name = "cnn"
options = {{ width = {width}, groups = 2 }}
[data]
modality = "CR"
image_size = [{size}, {size}]
intensity = "window"
[training]
local_steps = 1
batch_patients = 4
[strategy]
name = "fedavgm"
momentum = 0.9
ema_decay = 0.9
[evaluation]
every = {rounds}
[privacy]
mechanism = "none"
[secure_aggregation]
enabled = false
"""
    )
    return job
