"""Train a CycleGAN.

    python train.py                                   the embedded data, a few minutes on a CPU
    python train.py --data horse2zebra                a TFDS data set, as in the paper
    python train.py --data pictures/                  trainA/ trainB/ testA/ testB/ in a folder
    python train.py --data pictures.zip --image-size 128 --epochs 100
    python train.py --initial-weights runs/other/     go on from another run's networks, afresh
    python train.py --resume                          go on with the newest run, exactly
    python train.py --help                            every setting

The same as `tfcyclegan train …`; settings and their defaults are in tfcyclegan/config.py.
"""

import sys

from tfcyclegan.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
