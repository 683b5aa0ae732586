#!/bin/sh
# Trains the model in demo/bundle/ and scores it; docs/results.md has the figures.
set -eu
cd "$(dirname "$0")/.."

python -m demo.photos demo/output/photos
i2i-rt train fastcut --data demo/output/photos -o demo/output/training \
    --width 16 --blocks 6 --discriminator-width 32 --resize none --crop-size 80 \
    --epochs 3 --decay-epochs 3 --learning-rate 4e-4 --seed 0 --threads 1
python -m demo.evaluate demo/output/training/bundle --picture demo/output/heldout.png
