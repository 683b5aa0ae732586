"""Pack a training set's folders into WebDataset shards: few large files instead of many small ones.

  i2i-rt pack photos/ -o shards/
  i2i-rt train cut --data shards/ -o runs/cut
  i2i-rt train cut --data 'shards/train-{000000..000011}.tar' -o runs/cut

A run sees the same pictures in the same order whether it reads the folders or the shards. docs/data.md tells which
folders there are and what they are called in a shard.
"""

import argparse
from pathlib import Path

from i2i_rt.errors import I2IError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, help="folder with trainA/, trainB/ and so on, as train takes it")
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder for the shards; new or empty")
    parser.add_argument("--shard-mb", type=int, default=512, help="megabytes that a shard has at least (default: 512)")


def run(arguments: argparse.Namespace) -> int:
    from i2i_rt.training.shards import pack

    if arguments.shard_mb < 1:
        raise I2IError(f"--shard-mb is {arguments.shard_mb}; it must be at least 1")
    if not arguments.data.is_dir():
        raise I2IError(f"there is no folder {arguments.data}; name one with pictures as 'i2i-rt train' takes it")
    shards = pack(arguments.data, arguments.output, shard_bytes=arguments.shard_mb * 10**6)
    size = sum(shard.stat().st_size for shard in shards) / 1e6
    print(f"shards   {arguments.output} ({len(shards)} tar, {size:.1f} MB)")
    print(f"next     i2i-rt train SYSTEM --data {arguments.output} -o RUN")
    return 0
