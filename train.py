"""Train a CycleGAN.

    python train.py                                   the embedded data, a few minutes on a CPU
    python train.py --data horse2zebra                a TFDS data set, as in the paper
    python train.py --data pictures/                  a folder with trainA/ trainB/ testA/ testB/
    python train.py --data pictures.zip --image-size 128 --epochs 100
    python train.py --initial-weights runs/other/     a new run that starts from another's weights
    python train.py --resume                          continue the newest run exactly
    python train.py --help                            all settings

This is `tfcyclegan train …`. tfcyclegan/training/config.py has the settings and their defaults.
"""

import sys

from tfcyclegan.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
