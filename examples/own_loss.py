"""Add a term to the generators' loss and replace the adversarial objective.

python examples/own_loss.py [STEPS]
"""

import sys

import tensorflow as tf

import tfcyclegan

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 125


class SmoothCycleGAN(tfcyclegan.CycleGAN):
    """Penalises the total variation ("tv") of the generated pictures."""

    def generator_terms(self, cycle):
        terms = super().generator_terms(cycle)
        variation = tf.reduce_mean(tf.image.total_variation(cycle.fake))
        terms[f"tv_{cycle.domain}"] = 1e-4 * variation
        return terms


# Least squares with smoothed labels.
smoothed = tfcyclegan.Objective(
    discriminator=lambda real, fake: (
        0.5 * (tf.reduce_mean((real - 0.9) ** 2) + tf.reduce_mean(fake**2))
    ),
    generator=lambda fake: tf.reduce_mean((fake - 0.9) ** 2),
)
data = tfcyclegan.load_data("shapes", image_size=32, batch_size=4, steps_per_epoch=steps)
model = SmoothCycleGAN(image_size=32, filters=16, blocks=3)
model.compile(objective=smoothed, learning_rate=3e-4)
history = model.fit(data.train, epochs=1).history
print("tv_A", history["tv_A"][-1], "tv_B", history["tv_B"][-1])
