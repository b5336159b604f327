"""Train your own generators: any Keras models that map pictures to pictures of the same size.

python examples/own_generator.py [STEPS]
"""

import sys

import keras
from keras import layers

import tfcyclegan

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 125


def generator(name):
    """Convolutions at full size with a skip connection and weight decay."""
    decay = keras.regularizers.L2(1e-4)
    x = images = keras.Input((None, None, 3))
    for _ in range(4):
        x = tfcyclegan.ReflectionPadding2D(1)(x)
        x = layers.Conv2D(16, 3, kernel_regularizer=decay)(x)
        x = layers.ReLU()(tfcyclegan.InstanceNormalization()(x))
    change = layers.Conv2D(3, 1, dtype="float32")(x)
    return keras.Model(images, layers.Activation("tanh")(images + change), name=name)


data = tfcyclegan.load_data("shapes", image_size=32, batch_size=4, steps_per_epoch=steps)
model = tfcyclegan.CycleGAN(
    G=generator("G"), F=generator("F"), image_size=32, discriminator_filters=16
)
model.compile(learning_rate=3e-4)
history = model.fit(data.train, epochs=1).history
print("G_regularization", history["G_regularization"][-1])  # the weight decay is in the loss
